"""The runs in a contributor's statement: what each was worth, by which valuations, and what settlements made of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ledger.facts import Fact, Facts
from ledger.other_values import OtherSummary, OtherWorth
from ledger.policies.outcome import Payout
from ledger.policies.terms import Terms, read_terms
from ledger.valuation_entry import ContributorWorth, TaskWorth


@dataclass(frozen=True)
class TaskValue:
    """What the contributor did to one task, in the task's own 1e-12 nat."""

    task: str
    weight: str
    value: int
    improvement: int  # of the whole run
    share: Fraction | None  # value / improvement; None where there was no improvement


@dataclass(frozen=True)
class SettledRun:
    """What one settlement came to for the contributor, minor units. It may be about several runs together."""

    entry: int
    settled_at: str
    runs: list[str]
    terms: Terms
    payout: Payout
    reversed_by: int | None


@dataclass(frozen=True)
class NamedValue:
    """What one valuation of a run says, in 1e-12 nat, weighted over tasks."""

    name: str
    entry: int
    record: str
    value: int
    standard_error: int | None
    improvement: int
    share: Fraction | None


@dataclass(frozen=True)
class ValuedRun:
    """A run in which the contributor's data took part. Values are in 1e-12 nat, weighted over tasks."""

    run: str
    entry: int
    began_at: str
    complete: bool
    reversed_by: int | None
    rows: int
    rows_of_all: int
    datasets: list[str]
    value: int
    standard_error: int | None  # of a sampled value
    improvement: int
    share: Fraction | None
    tasks: list[TaskValue]
    settlements: list[SettledRun]
    name: str | None  # of this valuation, where others stand beside it
    others: list[NamedValue]

    @property
    def valuations(self) -> list[NamedValue]:
        """All valuations of the run that hold, its own first."""
        own = NamedValue(
            name=self.name or "own",
            entry=self.entry,
            record=self.run,
            value=self.value,
            standard_error=self.standard_error,
            improvement=self.improvement,
            share=self.share,
        )
        return [own, *self.others]

    @property
    def disagreeing(self) -> bool:
        """Whether what was paid by, or the own value while nothing was, has another sign than another valuation."""
        standing = [made.terms.by for made in self.settlements if made.reversed_by is None]
        named = {self.name: self.value, None: self.value} | {other.name: other.value for other in self.others}
        bases = [named.get(by, self.value) for by in standing] or [self.value]
        return any(basis * value < 0 for basis in bases for value in named.values())

    @property
    def paid_by(self) -> set[str | None]:
        """The names of the valuations that settlements which hold pay by."""
        return {made.terms.by or self.name for made in self.settlements if made.reversed_by is None}


def runs(facts: Facts) -> list[ValuedRun]:
    """The runs that facts tell of, in the order in which they were booked."""
    settled: dict[str, list[SettledRun]] = defaultdict(list)
    for fact in facts.of("settlement"):
        for part in fact.parts:
            made = SettledRun(
                entry=fact.sequence,
                settled_at=fact.recorded_at,
                runs=list(fact.payload["runs"]),
                terms=read_terms(fact.payload["terms"]),
                payout=Payout.read(facts.contributor, part),
                reversed_by=facts.reversed_by(fact.sequence),
            )
            for run in made.runs:
                settled[run].append(made)
    return [_run(facts, fact, part, settled[fact.subject]) for fact in facts.of("valuation") for part in fact.parts]


def _run(facts: Facts, fact: Fact, part: Mapping[str, Any], settlements: list[SettledRun]) -> ValuedRun:
    others = list(_others(facts, fact.subject))
    worth = ContributorWorth.model_validate(part)
    improvement = int(fact.payload["improvement"])
    return ValuedRun(
        run=fact.payload["run"],
        entry=fact.sequence,
        began_at=fact.payload["began_at"],
        complete=fact.payload["complete"],
        reversed_by=facts.reversed_by(fact.sequence),
        rows=worth.rows,
        rows_of_all=fact.payload["rows"],
        datasets=worth.datasets,
        value=worth.value,
        standard_error=worth.standard_error,
        improvement=improvement,
        share=_share(worth.value, improvement),
        tasks=[
            TaskValue(task.task, task.weight, value, task.improvement, _share(value, task.improvement))
            for task, value in zip(map(TaskWorth.model_validate, fact.payload["tasks"]), worth.task_values, strict=True)
        ],
        settlements=settlements,
        name=others[0][0] if others else None,
        others=[other for _, other in others],
    )


def _others(facts: Facts, run: str) -> Iterator[tuple[str, NamedValue]]:
    """The valuations beside a run's own that hold, each with what they call the own one."""
    for fact in facts.of("other valuation"):
        if fact.subject != run or facts.reversed_by(fact.sequence) is not None:
            continue
        said = OtherSummary.model_validate({key: value for key, value in fact.payload.items() if key != "path"})
        for part in fact.parts:
            worth = OtherWorth.model_validate(part)
            other = NamedValue(
                name=said.name,
                entry=fact.sequence,
                record=said.record,
                value=worth.value,
                standard_error=worth.standard_error,
                improvement=said.improvement,
                share=_share(worth.value, said.improvement),
            )
            yield said.own, other


def _share(value: int, improvement: int) -> Fraction | None:
    return Fraction(value, improvement) if improvement else None
