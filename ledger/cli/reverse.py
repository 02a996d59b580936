"""`ghostledger reverse`: take a settlement back, so that its runs can be settled anew."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from sqlmodel import Session

from ledger.cli.options import DEFAULT_LEDGER, AsJson, LedgerPlace
from ledger.cli.output import say, say_json
from ledger.cli.settle import Runs, identity
from ledger.database import Ledger
from ledger.settlement import reverse as reverse_settlement

EXAMPLE = "Example: ghostledger reverse 3f9a01c2 --reason 'wrong budget'"


def reverse(
    runs: Runs,
    reason: Annotated[str, typer.Option(help="Why: it is kept with the reversal.")],
    task: Annotated[str | None, typer.Option(help="The task that was settled by itself.")] = None,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Reverse the settlement of exactly these runs by new entries: nothing is changed or deleted.

    What is still held back or stopped goes back with it. What contributors were paid meanwhile they owe from then on,
    and it is netted from what they earn next.
    """
    named = [identity(run) for run in runs]

    def work(session: Session) -> list[dict[str, Any]]:
        posted = reverse_settlement(session, named, reason, task=task)
        return [{"entry": entry.sequence, "kind": entry.kind, "reverses": entry.reverses} for entry in posted]

    with Ledger.open(ledger) as books:
        made = books.transact(work)
    if as_json:
        say_json(made)
        return
    for one in made:
        what = f"reverses entry {one['reverses']}" if one["reverses"] else "makes good what had moved on"
        say(f"entry {one['entry']} {what}")
