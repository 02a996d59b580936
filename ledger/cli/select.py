"""`ghostledger select`: what to take of a run's data for a budget, as a keep list."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer

from attribution.record import RunRecord
from attribution.training.keeping import KeepList
from attribution.uses.budget import Budget
from attribution.uses.select import select as selected
from attribution.uses.selection import Chosen, Selection
from attribution.uses.unit_list import KEEP
from ledger.cli.options import DEFAULT_LEDGER, AsJson, LedgerPlace
from ledger.cli.output import say, say_json, table
from ledger.cli.progress import advancing
from ledger.cli.run_data import run_folder, run_record
from ledger.cli.shown_units import sources_to_show, unit_line
from ledger.errors import LedgerError

EXAMPLE = (
    "Example: ghostledger select runs/monday --budget 500.00 --unit contributors --price alice=120.00 --price bob=90"
)

_AMOUNT = re.compile(r"[0-9]{1,60}(\.[0-9]{1,30})?")


class BudgetError(LedgerError):
    """A budget or a price cannot be read."""


def select(
    run: Annotated[Path, typer.Argument(help="The folder that train wrote; with --scores where records are chosen.")],
    budget: Annotated[
        str, typer.Option(metavar="AMOUNT", help="How much may be taken, or spent where prices are given.")
    ],
    unit: Annotated[
        str, typer.Option(help="What the budget counts, or prices are for: records, tokens or contributors.")
    ] = "tokens",
    price: Annotated[
        list[str] | None,
        typer.Option(metavar="CONTRIBUTOR=AMOUNT", help="What one of the contributor's costs; repeat for everybody."),
    ] = None,
    fill: Annotated[
        bool, typer.Option("--fill", help="Take what scores 0 or less too, the best first, while the budget lasts.")
    ] = False,
    task: Annotated[str | None, typer.Option(help="Go by what was worth on this task alone.")] = None,
    chosen: Annotated[
        Path | None,
        typer.Option(metavar="KEEP", help="A keep list of what is chosen already: taken first, and paid for."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A new folder for the keep list and the report; RUN/selected where not given.")
    ] = None,
    show: Annotated[int, typer.Option(min=0, help="How many of the worst and of the best records to show.")] = 5,
    picture: Annotated[
        Path | None, typer.Option(help="Draw what is taken and left of each contributor's to this PNG.")
    ] = None,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Choose records or contributors of a run for a budget, by their scores or values, and write the keep list.

    Records are taken by score for their cost, contributors by the exact choice that is worth most. Nothing is bought
    and nothing booked: train on the list with --keep.
    """
    asked = Budget(_amount("--budget", budget), unit, _prices(price), fill, task)  # type: ignore[arg-type]
    record, folder = run_record(run), run_folder(run)
    taken = None if chosen is None else KeepList.load(chosen)
    shows = show and unit != "contributors" and record.scores is not None
    sources = sources_to_show(ledger, record) if shows else []
    total = (record.details.get("samples") or {}).get("scores")
    with advancing(total, "reading scores") as advance:
        found = selected(
            record, folder, out or folder / "selected", asked, chosen=taken, sources=sources, show=show, advance=advance
        )
    if picture is not None:
        _draw(found, picture)
    if as_json:
        say_json(found.json())
    else:
        _show(found, record)
        if picture is not None:
            say(f"the picture: {picture}")


def _draw(found: Selection, picture: Path) -> None:
    from attribution.uses.choice_picture import Bars, draw_choice  # loads matplotlib

    bars = []
    for share in found.contributors:
        taken, left = (0 if pile is None else pile.size for pile in (share.taken, share.left))
        bars.append(Bars(share.name, taken, left, share.worth, share.value - share.worth))
    draw_choice(bars, picture, size_is=found.size_is, kept="taken", left="left")


def _amount(option: str, text: str) -> Decimal:
    if not _AMOUNT.fullmatch(text):
        raise BudgetError(
            f"{option} {text}: must be plain digits with at most one decimal point, such as 100000 or 12.50"
        )
    return Decimal(text)


def _prices(given: Sequence[str] | None) -> dict[str, Decimal] | None:
    if not given:
        return None
    found: dict[str, Decimal] = {}
    for text in given:
        name, equals, amount = text.rpartition("=")
        if not name or not equals:
            raise BudgetError(f"--price {text}: must be CONTRIBUTOR=AMOUNT, such as alice=12.50")
        if name in found:
            raise BudgetError(f"--price {text}: {name!r} is named twice")
        found[name] = _amount(f"--price {name}", amount)
    return found


def _show(found: Selection, record: RunRecord) -> None:
    ranked = sorted(found.contributors, key=lambda c: (-c.worth, -c.value, c.name))
    counted = any(c.taken is not None for c in ranked)
    sized = found.size_is == "tokens" and counted
    unit = "record" if found.unit == "contributor" else found.unit
    columns = ["contributor", *([f"{unit}s", "taken"] if counted else ["taken"]), *(["tokens taken"] if sized else [])]
    columns += ["price", "spent", "worth, nats", "of it taken"]
    rows = [[c.name, *_counts(c, sized), c.price, c.spent, f"{c.value:+.6f}", f"{c.worth:+.6f}"] for c in ranked]
    table(f"{found.budget}: what to take", columns, rows, right=set(columns[1:]))
    for title, samples in (("scored least", found.worst), ("scored most", found.best)):
        for sample in samples:
            say(unit_line(title, sample, found.size_is, kept="taken", dropped="left"))
    exact = (
        "the most that the budget buys"
        if found.unit == "contributor"
        else f"nothing that it buys exceeds {found.bound:+.6f}"
    )
    say(f"spent {found.spent} of {found.budget.amount} for {found.worth:+.6f} nats; {exact}")
    if found.sha256 is not None:
        say(f"the keep list: {found.path / KEEP}")
    if found.sha256 is not None and "records" in record.details:
        say(f"to train on it: ghostledger train --keep {found.path / KEEP} …")
    elif found.unit == "contributor":
        names = " ".join(f"--contributor {c.name}" for c in found.contributors if c.whole)
        say(f"to train on them: ghostledger train {names} …" if names else "nobody is worth taking")


def _counts(share: Chosen, sized: bool) -> list[str]:
    if share.taken is None or share.left is None:
        return ["yes" if share.whole else "no"]
    counts = [f"{share.taken.units + share.left.units:,}", f"{share.taken.units:,}"]
    return [*counts, f"{share.taken.size:,}"] if sized else counts
