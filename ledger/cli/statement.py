"""`ghostledger statement`: what a contributor supplied, what it was worth, what they are owed and why."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlmodel import Session

from ledger.accounts import KINDS
from ledger.cli.files import read_checkpoint, read_signer
from ledger.cli.options import DEFAULT_LEDGER, AsJson, LedgerPlace
from ledger.cli.output import say, say_json, table, warn
from ledger.database import Ledger
from ledger.evidence import entries_about
from ledger.money import format_nats, format_units
from ledger.proofs import log
from ledger.proofs.carrying import carry
from ledger.proofs.checkpoint import sign
from ledger.proofs.statement_proof import PROOFS
from ledger.statement import Balance, Claim, Statement
from ledger.statement import statement as statement_of
from ledger.statement_runs import SettledRun, ValuedRun

EXAMPLE = "Example: ghostledger statement alice --json --proofs --checkpoint april.txt"


def statement(
    contributor: Annotated[str, typer.Argument(help="Whose statement.")],
    proofs: Annotated[
        bool,
        typer.Option("--proofs", help="With --json: carry what `ghostledger verify` needs, by --checkpoint or --key."),
    ] = False,
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Prove everything as of this checkpoint of the ledger.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Prove everything as of a new checkpoint, signed with this key.")
    ] = None,
    older: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Prove also that the checkpoint continues this one, which somebody kept."),
    ] = None,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Print what a contributor supplied, what it was worth in each run, what they are owed and why.

    With proofs, anybody who has the ledger's verifier key or a checkpoint can check every figure without the ledger.
    """
    if proofs and not as_json:
        raise typer.BadParameter("proofs are for programs; add --json", param_hint="--proofs")
    if proofs == (checkpoint is None and key is None) or None not in (checkpoint, key) or (older and not proofs):
        raise typer.BadParameter("--proofs needs one of --checkpoint and --key, and these and --older need --proofs")
    with Ledger.open(ledger) as books, books.reading() as session:
        if not proofs:
            made = statement_of(session, contributor)
            if as_json:
                say_json(made.as_json())
            else:
                _show(made)
        else:
            say_json(_with_proofs(session, contributor, checkpoint, key, older))


def _with_proofs(
    session: Session, contributor: str, checkpoint: Path | None, key: Path | None, older: Path | None
) -> dict[str, Any]:
    if checkpoint is not None:
        signed, found = read_checkpoint(checkpoint)
    else:
        assert key is not None  # one of the two is given
        found = log.checkpoint(session)
        signed = sign(found, read_signer(key))
    before = None if older is None else read_checkpoint(older)[1]
    carried = carry(session, contributor, signed, found, before)
    made = statement_of(session, contributor, found.size).as_json()
    later = entries_about(session, contributor)
    if later and later[-1] > found.size:
        warn(f"what concerns {contributor} after the checkpoint's {found.size:,} entries is left out: make a newer one")
    return made | {PROOFS: carried.model_dump(mode="json")}


def _show(made: Statement) -> None:
    name = made.name.name if made.name else "name erased"
    say(f"Statement of {name} ({made.contributor}), {made.made_at}, head {made.head}")
    _show_datasets(made)
    if made.payees:
        say(f"Paid in their stead: {', '.join(f'{payee} ({parts})' for payee, parts in made.payees.items())}")
    for run in made.runs:
        _show_run(run)
    if not made.runs:
        say("No run has used this data.")
    _show_movements(made)
    for claim in made.disputes:
        say(_claim(claim))
    for line in _on_chains(made):
        say(line)
    for balance in made.balances:
        _show_balance(made.contributor, balance)
    if not made.balances:
        say("Nothing is owed.")


def _show_balance(contributor: str, balance: Balance) -> None:
    say(f"Owed to {contributor}: {format_units(balance.payable, balance.exponent)} {balance.asset}")
    if balance.receivable:
        owed = format_units(balance.receivable, balance.exponent)
        say(f"Owed by {contributor}, netted from later payouts: {owed} {balance.asset}")
    for kind, amount in sorted(balance.accounts.items()):
        if amount and kind not in ("payable", "receivable"):
            say(f"{KINDS[kind].means.capitalize()}: {format_units(amount, balance.exponent)} {balance.asset}")


def _show_movements(made: Statement) -> None:
    """What moved besides settlements of the contributor's own runs, which are shown with the runs."""
    settled = {settlement.entry for run in made.runs for settlement in run.settlements}
    rows = [
        [
            str(moved.entry),
            moved.event_at[:10],
            moved.kind,
            moved.account,
            f"{format_units(moved.amount, moved.exponent)} {moved.asset}",
            "; ".join(filter(None, (moved.reason, moved.reference))),
        ]
        for moved in made.movements
        if moved.entry not in settled
    ]
    if rows:
        table("moved since", ["entry", "date", "what", "account", "amount", "why"], rows, right={"entry", "amount"})


def _claim(claim: Claim) -> str:
    amount = f"{format_units(claim.amount, claim.exponent)} {claim.asset}"
    end = f"resolved for the {claim.outcome} by entry {claim.resolved_by}" if claim.resolved_by else "open"
    against = claim.respondent or "the house"
    called = f", and calls for valuation {claim.calls_for}" if claim.calls_for else ""
    if claim.payout is not None:
        end += f"; by it, the claimant would have been given {format_units(claim.payout, claim.exponent)} {claim.asset}"
    return (
        f"Dispute {claim.entry}: {claim.claimant} claims {amount} of {against}, settlement {claim.settlement}{called}; "
        f"{end}."
    )


def _on_chains(made: Statement) -> Iterator[str]:
    for own in made.on_chains.addresses:
        since = f"{own.state} from {own.effective_at}" if own.state == "pending" else own.state
        yield f"Payout address on chain {own.chain_id}: {own.address}, {since} (entry {own.entry})."
    for one in made.on_chains.published:
        amount = f"{format_units(one.amount, one.exponent)} {one.asset}"
        in_all = f"{format_units(one.cumulative, one.exponent)} in all"
        yield (
            f"Publication {one.entry}: {amount} for {one.address} by root {one.root_id} on chain {one.chain_id}, "
            f"{in_all}; {one.state}."
        )
    for paid in made.on_chains.claimed:
        amount = f"{format_units(paid.amount, paid.exponent)} {paid.asset}"
        yield f"Claimed by entry {paid.entry}: {amount}, sent to {paid.recipient} by transaction {paid.transaction}."


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
    if run.disagreeing:
        _show_side_by_side(run)
    for settled in run.settlements:
        say(_why(settled))
    if not run.settlements:
        say("Not settled yet.")


def _show_side_by_side(run: ValuedRun) -> None:
    rows = [
        [
            one.name,
            format_nats(one.value, one.standard_error),
            format_nats(one.improvement),
            _share(one.share),
            "yes" if one.name in run.paid_by else "",
        ]
        for one in run.valuations
    ]
    columns = ["valuation", "value, nats", "improvement, nats", "share", "paid by"]
    table(f"run {run.run[:12]} by each of its valuations", columns, rows, right=set(columns[1:4]))
    say("Valuations of one run answer different questions, and here they disagree in sign: see docs/counterfactual.md.")


def _why(settled: SettledRun) -> str:
    asset, payout = settled.terms.asset, settled.payout
    said = [f"the value comes to {asset.format(payout.share)}"]
    said += [
        f"{asset.format(amount)} {what}"
        for amount, what in (
            (payout.drawn, "had accrued before"),
            (payout.redistributed, "comes from what others may not get" if payout.redistributed > 0 else "is others'"),
            (payout.netted, "of it is kept back for earlier debts"),
            (payout.forgiven, "of it is forgiven"),
            (payout.carried, "of it is owed from later payouts"),
            (payout.slashed, "of it is taken from the stake"),
        )
        if amount
    ]
    for part in payout.parts:
        until = f" until {part.release_at[:10]}" if part.release_at else ""
        said.append(f"{asset.format(part.amount)} is {KINDS[part.home].means}{until}")
    said.append(f"payable {asset.format(payout.paid)} {asset}")
    together = f" together with {len(settled.runs) - 1} other runs" if len(settled.runs) > 1 else ""
    reversed_by = f" (reversed by entry {settled.reversed_by})" if settled.reversed_by else ""
    return f"Settled{together} by entry {settled.entry}, {settled.terms}{reversed_by}: {'; '.join(said)}."


def _share(share: Fraction | None) -> str:
    return "–" if share is None else f"{float(share):.2%}"
