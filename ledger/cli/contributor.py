"""`ghostledger contributor`: who may be paid."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from sqlmodel import Session

from ledger import personal, registry
from ledger.cli.options import DEFAULT_LEDGER, AsJson, LedgerPlace
from ledger.cli.output import say, say_json, table
from ledger.database import Ledger

contributor = typer.Typer(help="Add and list contributors: whoever supplies data and may be paid.")


@contributor.command(epilog="Example: ghostledger contributor add alice --name 'Alice Ltd'")
def add(
    id: Annotated[str, typer.Argument(help="Lower-case letters and digits, with single '-', '_' or '.' between them.")],
    name: Annotated[str | None, typer.Option(help="What people call them; the id where it is not given.")] = None,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Add a contributor."""

    def work(session: Session) -> dict[str, Any]:
        added = registry.add_contributor(session, id, name)
        return {"id": added.id, "name": personal.name_of(session, added.id), "entry": added.entry}

    with Ledger.open(ledger) as books:
        added = books.transact(work)
    if as_json:
        say_json(added)
    else:
        say(f"contributor {added['id']} ({added['name']}) is in entry {added['entry']}")


@contributor.command("list", epilog="Example: ghostledger contributor list --json")
def list_(ledger: LedgerPlace = DEFAULT_LEDGER, as_json: AsJson = False) -> None:
    """List all contributors with what they supplied."""
    with Ledger.open(ledger) as books, books.reading() as session:
        found = []
        for row in registry.contributors(session):
            datasets = registry.datasets(session, row.id)
            found.append(
                {
                    "id": row.id,
                    "name": personal.name_of(session, row.id),
                    "datasets": len(datasets),
                    "records": sum(dataset.record_count for dataset in datasets),
                    "bytes": sum(dataset.byte_count for dataset in datasets),
                }
            )
    if as_json:
        say_json(found)
    else:
        columns = ["id", "name", "datasets", "records", "bytes"]
        table(None, columns, [[row[c] for c in columns] for row in found], right={"datasets", "records", "bytes"})
