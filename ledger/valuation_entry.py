"""What a valuation entry says: of the run in its payload, of each contributor in a part, in integers of 1e-12 nat."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Protocol

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer
from sqlmodel import Session

from ledger import journal
from ledger.lines import Line, credit, debit
from ledger.models import Entry
from ledger.money import NAT
from ledger.policies.terms import Worth


def _from_text(value: object) -> object:
    return int(value) if isinstance(value, str) else value


# JSON numbers end at 2**53 (RFC 8785 refuses more), so amounts travel as text.
Exact = Annotated[int, BeforeValidator(_from_text), PlainSerializer(str)]


class Stated(BaseModel):
    """What an entry says, read strictly."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TaskWorth(Stated):
    """What the run did to one task, in the task's own 1e-12 nat, unweighted."""

    task: str
    weight: str  # the shortest decimal that is the record's float64
    fingerprint: str | None
    improvement: Exact
    house: Exact
    gap: Exact


class ContributorWorth(Stated):
    """What one contributor's data was worth, in 1e-12 nat."""

    contributor: str
    rows: int
    datasets: list[str]
    value: Exact  # weighted over tasks: what is paid for
    standard_error: Exact | None = None  # of a sampled value; at most, since tasks' errors may go together
    task_values: list[Exact]  # in the order of the tasks, unweighted


class Summary(Stated):
    """What the valuation entry's payload says: totals weighted over tasks, in integers of 1e-12 nat."""

    run: str
    began_at: str
    ended_at: str | None
    complete: bool
    stopped: str | None
    objective: str | None
    method: str | None
    tasks: list[TaskWorth]
    improvement: Exact
    house: Exact
    gap: Exact


class Valuation(Summary):
    """A whole valuation entry: what its payload says, and what its parts do."""

    contributors: list[ContributorWorth]

    @property
    def worth(self) -> Worth:
        """What the settlement's policies need."""
        return Worth({part.contributor: part.value for part in self.contributors}, self.house, self.gap)


class _Totals(Protocol):
    @property
    def improvement(self) -> int: ...
    @property
    def house(self) -> int: ...
    @property
    def gap(self) -> int: ...


class _Valued(Protocol):
    @property
    def contributor(self) -> str: ...
    @property
    def value(self) -> int: ...


def lines(summary: _Totals, contributors: Iterable[_Valued], commodity: str = NAT) -> Iterator[Line]:
    """The valuation entry's lines: debit the improvement; credit every contributor, the house and the gap."""
    yield debit("improvement", commodity, summary.improvement)
    for part in contributors:
        yield credit(f"value:{part.contributor}", commodity, part.value)
    yield credit("house", commodity, summary.house)
    yield credit("gap", commodity, summary.gap)


def payload(valuation: Valuation, path: str) -> dict[str, Any]:
    """What the valuation entry says of all contributors together, their rows among it."""
    rows = sum(part.rows for part in valuation.contributors)
    return {**valuation.model_dump(mode="json", exclude={"contributors"}), "rows": rows, "path": path}


def parts(valuation: Valuation) -> list[tuple[str, dict[str, Any]]]:
    """What the valuation entry says of each contributor."""
    return [(part.contributor, part.model_dump(mode="json")) for part in valuation.contributors]


def read_entry(session: Session, entry: Entry) -> Valuation:
    """The valuation that an entry states. Raises `ValueError` where it states none."""
    contributors = [json.loads(part.payload) for part in journal.parts_of(session, entry.sequence)]
    return Valuation(**dict(read_summary(entry)), contributors=contributors)


def read_summary(entry: Entry) -> Summary:
    """What an entry states of a valuation's contributors together. Raises `ValueError` where it states none."""
    stated = json.loads(entry.payload)
    del stated["path"], stated["rows"]
    return Summary.model_validate(stated)
