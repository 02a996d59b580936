"""`ghostledger valuation`: several valuations of one run, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlmodel import Session

from ledger import journal, later_valuations, other_valuations
from ledger import valuation as valuations
from ledger.cli.options import DEFAULT_LEDGER, AsJson, LedgerPlace
from ledger.cli.output import say, say_json, table
from ledger.cli.settle import identity
from ledger.database import Ledger
from ledger.models import Run
from ledger.money import format_nats
from ledger.scope import settlements_of_run

valuation = typer.Typer(help="Add and list valuations of a run beside its own, such as by retraining.")

RunName = Annotated[str, typer.Argument(metavar="RUN", help="A booked run: its identity, first digits, or folder.")]


@valuation.command(epilog="Example: ghostledger valuation add 3f9a01c2 retrained --as retraining")
def add(
    run: RunName,
    record: Annotated[Path, typer.Argument(help="The folder of the record that holds the values.")],
    name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="What it is called; by default as its method is.")
    ] = None,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Book another record's values as a further valuation of a run: same contributors, tasks and weights.

    It has an entry of its own, which balances on the record's own improvement. Nothing is paid by it unless
    `settle --by` says so. The same again changes nothing.
    """
    chosen = identity(run)
    with Ledger.open(ledger) as books:
        added = books.transact(lambda session: later_valuations.add(session, chosen, record, name))
    found = added.valuation
    if as_json:
        say_json({"entry": found.entry, "repeated": added.repeated, **found.summary.model_dump(mode="json")})
        return
    again = ", booked before" if added.repeated else ""
    say(f"run {found.summary.run[:12]}: valuation {found.name!r} is entry {found.entry}{again}; see `valuation list`")


@valuation.command("list", epilog="Example: ghostledger valuation list 3f9a01c2 --json")
def list_(run: RunName, ledger: LedgerPlace = DEFAULT_LEDGER, as_json: AsJson = False) -> None:
    """Show all valuations of a run side by side, and by which of them settlements that hold pay."""
    chosen = identity(run)
    with Ledger.open(ledger) as books, books.reading() as session:
        booked = valuations.run(session, chosen)
        columns = _columns(session, booked)
    if as_json:
        say_json({"run": booked.id, "valuations": [column.as_json() for column in columns]})
        return
    contributors = sorted(columns[0].values, key=lambda name: (-columns[0].values[name], name))
    rows = [[name, *(column.shown(column.values[name]) for column in columns)] for name in contributors]
    rows += [
        [what, *(column.shown(getattr(column, what)) for column in columns)] for what in ("house", "gap", "improvement")
    ]
    table(
        f"run {booked.id[:12]}: values in nats, and shares of each valuation's own improvement",
        ["contributor", *(column.name for column in columns)],
        rows,
        right={column.name for column in columns},
        section=len(contributors),
    )
    for column in columns:
        paid = "".join(f"; settlement {entry} pays by it" for entry in column.paid_by)
        say(f"{column.name}: entry {column.entry}, record {column.record[:12]}{paid}")


@dataclass(frozen=True)
class _Column:
    """One valuation, in integers of 1e-12 nat."""

    name: str
    entry: int
    record: str
    values: dict[str, int]
    errors: dict[str, int | None]
    house: int
    gap: int
    improvement: int
    paid_by: list[int]

    def shown(self, value: int) -> str:
        share = f"{value / self.improvement:.2%}" if self.improvement else "–"
        return f"{format_nats(value)} ({share})"

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "entry": self.entry,
            "record": self.record,
            "improvement_nats": format_nats(self.improvement),
            "house_nats": format_nats(self.house),
            "gap_nats": format_nats(self.gap),
            "settlements": self.paid_by,
            "contributors": [
                {
                    "contributor": name,
                    "value_nats": format_nats(value),
                    "standard_error_nats": None if (error := self.errors[name]) is None else format_nats(error),
                    "share": round(value / self.improvement, 6) if self.improvement else None,
                }
                for name, value in self.values.items()
            ],
        }


def _columns(session: Session, run: Run) -> list[_Column]:
    own = valuations.valuation_of(session, run)
    paying: dict[str | None, list[int]] = {}
    for made in settlements_of_run(session, run.id):
        if journal.reversal_of(session, made.entry) is None:
            paying.setdefault(made.valuation, []).append(made.entry)
    name = other_valuations.own_name_of(session, run.id)
    found = [
        _Column(
            name=name,
            entry=run.entry,
            record=run.id,
            values={part.contributor: part.value for part in own.contributors},
            errors={part.contributor: part.standard_error for part in own.contributors},
            house=own.house,
            gap=own.gap,
            improvement=own.improvement,
            paid_by=sorted([*paying.get(None, []), *paying.get(name, [])]),
        )
    ]
    for other in other_valuations.others(session, run.id):
        parts = list(other_valuations.contributors(session, other))
        found.append(
            _Column(
                name=other.name,
                entry=other.entry,
                record=other.summary.record,
                values={part.contributor: part.value for part in parts},
                errors={part.contributor: part.standard_error for part in parts},
                house=other.summary.house,
                gap=other.summary.gap,
                improvement=other.summary.improvement,
                paid_by=paying.get(other.name, []),
            )
        )
    return found
