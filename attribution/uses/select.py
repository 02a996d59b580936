"""Selection: what to take of a run's data for a budget, by what the run says that it was worth.

Records are taken by score for their cost, the best first (`attribution.uses.knapsack`); whole contributors by the exact
choice that is worth most. Both add up what one run measured with everybody there: that what is chosen may repeat itself
they do not see. `attribution.uses.rounds` does, by metering again. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import rfc8785

from attribution.errors import RecordError
from attribution.folder import file_sha256, write_folder
from attribution.record import RunRecord
from attribution.training.keeping import KeepList
from attribution.training.sources import Source
from attribution.uses.budget import Budget
from attribution.uses.errors import UseError
from attribution.uses.knapsack import Filled, best_choice, fill
from attribution.uses.selection import Chosen, Selection
from attribution.uses.unit_list import KEEP, extremes, write_list
from attribution.uses.units import Units, piles, scored_units, task_weights

REPORT = "report.json"
PER_NAT = 10**12  # contributors' values are compared as whole numbers of this part of a nat


def select(
    record: RunRecord,
    run: Path,
    out: Path,
    budget: Budget,
    *,
    chosen: KeepList | None = None,
    sources: Sequence[Source] = (),
    show: int = 5,
    advance: Callable[[int], None] = lambda rows: None,
) -> Selection:
    """Choose from a run's data what the budget buys, and write the keep list and a report to the folder `out`.

    `run` is the folder that the trainer wrote. What the list `chosen` keeps is taken before all else and paid for from
    the budget: from a run that meters the rest beside it, that is one more round of a choice that sees repetitions. The
    `show` samples that score least and most by size are in the report, with the beginning of their text where `sources`
    hold them. `advance` is told how many more scores were read. Memory does not grow with the samples.

    Contributors are chosen by their values, which every run has; there is a keep list where it has scores too. Raises
    `MissingFromRunError` where records are chosen and the run has no scores, `UseError` for a budget or a list that
    does not fit the run, and `RecordError` for files that cannot be read or written.
    """
    weights = task_weights(record, budget.task)
    costs = budget.costs(record.contributors)
    if out.exists():
        raise RecordError(f"{out}: exists; choose another folder for the keep list")
    if budget.unit == "contributors":
        if chosen is not None:
            raise UseError("a keep list of what is chosen already goes with a budget of records or tokens")
        return _contributors(record, run, out, budget, costs, weights, advance)
    with scored_units(record, run, weights, beside=out.parent, advance=advance) as found:
        if budget.unit == "tokens" and found.listed is None:
            raise UseError("the run's samples have no tokens: count records, which are its samples")
        price = _price(budget, costs)
        spent = 0 if chosen is None else _take(found, chosen, price, budget)
        offers = (offer for offer in found.totals.offers(price) if budget.fill or offer[-1] > 0)
        filled = Filled()
        found.totals.choose(fill(offers, budget.whole - spent, filled))
        found.totals.drop_unchosen()
        written, (worst, best) = write_list(record, found), extremes(record, found, show, sources)
        shares = [
            Chosen(
                name=pile.name,
                taken=pile.kept,
                left=pile.dropped,
                worth=pile.kept.score,
                value=pile.kept.score + pile.dropped.score,
                price=budget.text(cost),
                spent=budget.text(cost * (pile.kept.size if budget.unit == "tokens" else pile.kept.units)),
                whole=False,
            )
            for pile, cost in zip(piles(record, found.totals), costs, strict=True)
        ]
        worth = sum(share.worth for share in shares)
        selection = Selection(
            path=out,
            run=record.identity,
            budget=budget,
            unit=found.unit,
            size_is=found.size_is,
            tasks=record.tasks,
            contributors=shares,
            spent=budget.text(spent + filled.spent),
            worth=worth,
            bound=worth - filled.worth + filled.bound,
            worst=worst,
            best=best,
            sha256=file_sha256(written),
        )
        _write(selection, written)
    return selection


def _contributors(
    record: RunRecord,
    run: Path,
    out: Path,
    budget: Budget,
    costs: Sequence[int],
    weights: Sequence[float],
    advance: Callable[[int], None],
) -> Selection:
    """Whole contributors, by the values that are booked."""
    values = (record.values @ weights).tolist()
    taken = set(best_choice([round(value * PER_NAT) for value in values], costs, budget.whole))
    chosen = [
        Chosen(
            name=name,
            taken=None,
            left=None,
            worth=value if place in taken else 0.0,
            value=value,
            price=budget.text(cost),
            spent=budget.text(cost if place in taken else 0),
            whole=place in taken,
        )
        for place, (name, value, cost) in enumerate(zip(record.contributors, values, costs, strict=True))
    ]
    worth = sum(share.worth for share in chosen)
    selection = Selection(
        path=out,
        run=record.identity,
        budget=budget,
        unit="contributor",
        size_is="tokens",
        tasks=record.tasks,
        contributors=chosen,
        spent=budget.text(sum(costs[place] for place in taken)),
        worth=worth,
        bound=worth,
        worst=[],
        best=[],
        sha256=None,
    )
    if record.scores is None or "records" not in record.details:
        _write(selection, None)
        return selection
    with scored_units(record, run, weights, beside=out.parent, advance=advance) as found:
        found.totals.choose(number for number, who, *_ in found.totals.numbered() if who in taken)
        found.totals.drop_unchosen()
        written = write_list(record, found)
        parted = [
            replace(share, taken=pile.kept, left=pile.dropped)
            for share, pile in zip(chosen, piles(record, found.totals), strict=True)
        ]
        selection = replace(selection, contributors=parted, sha256=file_sha256(written))
        _write(selection, written)
    return selection


def _price(budget: Budget, costs: Sequence[int]) -> Callable[[int, int], int]:
    """A unit's whole cost, from who supplied it and its size."""
    if budget.unit == "tokens":
        return lambda who, size: costs[who] * size
    return lambda who, size: costs[who]


def _take(found: Units, chosen: KeepList, price: Callable[[int, int], int], budget: Budget) -> int:
    """Take what the list keeps; what it costs. Raises `UseError` for a list of other data, or beyond the budget."""
    listed = {read.dataset: read for read in found.listed or []}
    for name, read in chosen.datasets.items():
        if name not in listed:
            raise UseError(f"{chosen.path}: dataset {name[:12]} takes no part in the run: give a list of the same data")
        if (read.records, read.sequence) != (listed[name].records, listed[name].sequence):
            raise UseError(f"{chosen.path}: dataset {name[:12]} has other records, or another order, than in the run")
    spent, datasets = 0, found.datasets

    def kept() -> Iterator[int]:
        nonlocal spent
        for number, who, dataset, record, size in found.totals.numbered():
            if datasets[dataset] in chosen.datasets and chosen.keeps(datasets[dataset], record):
                spent += price(who, size)
                yield number

    found.totals.choose(kept())
    if spent > budget.whole:
        raise UseError(f"what is chosen already costs {budget.text(spent)}, more than the budget of {budget.amount}")
    return spent


def _write(selection: Selection, written: Path | None) -> None:
    lists = {} if written is None else {KEEP: (written, str(selection.sha256))}
    write_folder(selection.path, {REPORT: rfc8785.dumps(selection.json())}, lists)
