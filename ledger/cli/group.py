"""`ghostledger group`: contributors who play as one, because their data is the same."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from sqlmodel import Session

from ledger import estates, groups
from ledger.cli.options import DEFAULT_LEDGER, AsJson, LedgerPlace
from ledger.cli.output import say, say_json, table
from ledger.cli.typed import parts
from ledger.database import Ledger
from ledger.models import Group

group = typer.Typer(help="Let contributors whose data is the same play as one, and list such groups.")


@group.command(epilog="Example: ghostledger group create twins --member alice --member bob --why 'the same articles'")
def create(
    name: Annotated[str, typer.Argument(help="What to call the group: an id that no contributor has.")],
    member: Annotated[
        list[str], typer.Option(metavar="ID[=PARTS]", help="A contributor, and their parts of what it earns; else 1.")
    ],
    why: Annotated[str, typer.Option(help="What was found: it is kept with the entry.")],
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Make contributors one player of later runs: `train --group NAME`. What it earns is theirs, by parts.

    `dataset duplicates` finds who holds the same; `train --group-duplicates` groups them by itself.
    """
    members = parts("--member", member)

    def work(session: Session) -> dict[str, Any]:
        return _described(session, groups.create_group(session, name, members, why))

    with Ledger.open(ledger) as books:
        made = books.transact(work)
    if as_json:
        say_json(made)
    else:
        say(f"group {name} of {', '.join(made['members'])} is in entry {made['entry']}")


@group.command("list", epilog="Example: ghostledger group list --json")
def list_(ledger: LedgerPlace = DEFAULT_LEDGER, as_json: AsJson = False) -> None:
    """List all groups, who is in them, who is paid, and why they were made."""
    with Ledger.open(ledger) as books, books.reading() as session:
        found = [_described(session, row) for row in groups.groups(session)]
    if as_json:
        say_json(found)
        return
    rows = [
        [
            row["group"],
            ", ".join(row["members"]),
            ", ".join(f"{who} {n}" for who, n in row["payees"].items()),
            row["why"],
        ]
        for row in found
    ]
    table(None, ["group", "members", "payees, parts", "why"], rows)


def _described(session: Session, row: Group) -> dict[str, Any]:
    return {
        "group": row.id,
        "members": groups.members_of(session, row.id),
        "payees": estates.estate_of(session, row.id),
        "why": row.why,
        "entry": row.entry,
    }
