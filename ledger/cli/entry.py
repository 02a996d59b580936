"""`ghostledger entry`: read the journal, and take a mistake back."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from sqlmodel import Session, col, select

from ledger import corrections, journal
from ledger.cli.options import DEFAULT_LEDGER, AsJson, LedgerPlace
from ledger.cli.output import say, say_json, table
from ledger.cli.typed import commodity_of
from ledger.database import Ledger
from ledger.models import Entry
from ledger.money import format_units

entry = typer.Typer(help="Show entries of the journal, and reverse one that was a mistake.")

Sequence = Annotated[int, typer.Argument(metavar="ENTRY", help="The entry's number.")]


@entry.command("list", epilog="Example: ghostledger entry list --kind settlement")
def list_(
    kind: Annotated[str | None, typer.Option(help="Only entries of this kind.")] = None,
    last: Annotated[int, typer.Option(min=1, help="How many of the newest.")] = 50,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """List the newest entries."""
    query = select(Entry)
    if kind is not None:
        query = query.where(Entry.kind == kind)
    with Ledger.open(ledger) as books, books.reading() as session:
        newest = session.exec(query.order_by(col(Entry.sequence).desc()).limit(last)).all()
        rows = [_head(found) for found in reversed(newest)]
    if as_json:
        say_json(rows)
    else:
        columns = ["entry", "kind", "subject", "event_at", "recorded_at", "reason"]
        table(None, columns, [[row[name] or "" for name in columns] for row in rows], right={"entry"})


@entry.command(epilog="Example: ghostledger entry show 17 --json")
def show(number: Sequence, ledger: LedgerPlace = DEFAULT_LEDGER, as_json: AsJson = False) -> None:
    """Show an entry whole: what it says, and what it moved."""
    with Ledger.open(ledger) as books, books.reading() as session:
        found = journal.entry(session, number)
        postings = [
            {
                "account": line.account,
                "side": line.side,
                "amount": format_units(line.amount, commodity_of(session, line.commodity).exponent),
                "asset": line.commodity,
            }
            for line in journal.lines_of(session, number)
        ]
        reversal = journal.reversal_of(session, number)
        said = _head(found) | {
            "key": found.key,
            "reference": found.reference,
            "stated_at": found.stated_at,
            "reverses": found.reverses,
            "reversed_by": reversal.sequence if reversal else None,
            "payload": json.loads(found.payload),
            "postings": postings,
            "content": found.content,
            "previous": found.previous,
            "hash": found.hash,
        }
    if as_json:
        say_json(said)
        return
    for name, value in said.items():
        if name not in ("postings", "payload") and value is not None:
            say(f"{name.replace('_', ' ')}: {value}")
    say(f"says: {found.payload}")
    columns = ["account", "side", "amount", "asset"]
    table(None, columns, [[line[name] for name in columns] for line in postings], right={"amount"})


@entry.command(epilog="Example: ghostledger entry reverse 31 --reason 'wrong rate'")
def reverse(
    number: Sequence,
    reason: Annotated[str, typer.Option(help="Why: it is kept with the reversal.")],
    event_at: Annotated[str | None, typer.Option(metavar="DATE", help="When it counts, if not now.")] = None,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Reverse a conversion, a remittance, a stake's deposit or withdrawal, a hold, a release, or a run's valuation."""

    def work(session: Session) -> dict[str, Any]:
        posted = corrections.reverse_entry(session, number, reason, event_at=event_at)
        return {"entry": posted.entry.sequence, "reverses": number, "repeated": posted.repeated}

    with Ledger.open(ledger) as books:
        made = books.transact(work)
    if as_json:
        say_json(made)
    else:
        say(f"entry {made['entry']}{', made before,' if made['repeated'] else ''} reverses entry {number}")


def _head(found: Entry) -> dict[str, Any]:
    return {
        "entry": found.sequence,
        "kind": found.kind,
        "subject": found.subject,
        "event_at": found.event_at,
        "recorded_at": found.recorded_at,
        "reason": found.reason,
    }
