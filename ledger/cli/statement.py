"""`ghostledger statement`: what a contributor supplied, what it was worth, what they are owed and why."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated

import typer

from ledger.cli.options import DEFAULT_LEDGER, AsJson, LedgerPlace
from ledger.cli.output import say, say_json, table
from ledger.database import Ledger
from ledger.money import format_nats, format_units
from ledger.statement import SettledRun, Statement, ValuedRun
from ledger.statement import statement as statement_of

EXAMPLE = "Example: ghostledger statement alice --json"


def statement(
    contributor: Annotated[str, typer.Argument(help="Whose statement.")],
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Print what a contributor supplied, what it was worth in each run, what they are owed and why."""
    with Ledger.open(ledger) as books, books.reading() as session:
        made = statement_of(session, contributor)
        if as_json:
            say_json(made.as_json())
        else:
            _show(made)


def _show(made: Statement) -> None:
    say(f"Statement of {made.name} ({made.contributor}), {made.made_at}, head {made.head}")
    _show_datasets(made)
    for run in made.runs:
        _show_run(run)
    if not made.runs:
        say("No run has used this data.")
    for balance in made.balances:
        say(f"Owed to {made.contributor}: {format_units(balance.payable, balance.exponent)} {balance.asset}")
        if balance.receivable:
            owed = format_units(balance.receivable, balance.exponent)
            say(f"Owed by {made.contributor}, netted from later payouts: {owed} {balance.asset}")
    if not made.balances:
        say("Nothing is owed.")


def _show_datasets(made: Statement) -> None:
    rows = [
        [
            supplied.dataset.fingerprint[:12],
            supplied.dataset.name,
            supplied.dataset.licence,
            f"{supplied.dataset.record_count:,}",
            f"{supplied.dataset.byte_count:,}",
            "; ".join(f"{change} {at[:10]}" for change, at in supplied.consents) or "none",
        ]
        for supplied in made.datasets
    ]
    columns = ["dataset", "name", "licence", "records", "bytes", "consent"]
    table("supplied", columns, rows, right={"records", "bytes"})


def _show_run(run: ValuedRun) -> None:
    notes = ["" if run.complete else "partial", f"reversed by entry {run.reversed_by}" if run.reversed_by else ""]
    title = f"run {run.run[:12]} of {run.began_at[:10]}, entry {run.entry}"
    rows = [
        [
            f"{task.task} × {float(task.weight):g}",
            format_nats(task.value),
            format_nats(task.improvement),
            _share(task.share),
        ]
        for task in run.tasks
    ]
    value = format_nats(run.value, run.standard_error)
    rows.append(["weighted", value, format_nats(run.improvement), _share(run.share)])
    columns = ["task", "value, nats", "run's improvement, nats", "share"]
    table(", ".join([title, *filter(None, notes)]), columns, rows, right=set(columns[1:]), section=len(run.tasks))
    say(f"{run.rows:,} of {run.rows_of_all:,} rows came from this data.")
    for settled in run.settlements:
        say(_why(settled))
    if not run.settlements:
        say("Not settled yet.")


def _why(settled: SettledRun) -> str:
    asset, payout = settled.terms.amount.asset, settled.payout
    parts = [f"the value comes to {asset.format(payout.share)}"]
    if payout.netted:
        parts.append(f"{asset.format(payout.netted)} of it is kept back for earlier debts")
    if payout.forgiven:
        parts.append(f"{asset.format(payout.forgiven)} of it is forgiven")
    if payout.carried:
        parts.append(f"{asset.format(payout.carried)} of it is owed from later payouts")
    parts.append(f"payable {asset.format(payout.paid)} {asset}")
    reversed_by = f" (reversed by entry {settled.reversed_by})" if settled.reversed_by else ""
    return f"Settled by entry {settled.entry}, {settled.terms}{reversed_by}: {'; '.join(parts)}."


def _share(share: Fraction | None) -> str:
    return "–" if share is None else f"{float(share):.2%}"
