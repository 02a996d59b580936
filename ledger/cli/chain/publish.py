"""`ghostledger chain publish`: take what is payable to the chain."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.cli.chain.options import (
    DEFAULT_FEE_CAP,
    DryRun,
    FeeCap,
    KeystoreFile,
    PasswordFile,
    Rpc,
    SignerAddress,
    SignerUrl,
    Which,
    coins,
    gwei,
    node_at,
    signer_of,
    teller,
)
from ledger.cli.options import DEFAULT_LEDGER, AsJson, LedgerPlace
from ledger.cli.output import say, say_json, table
from ledger.database import Ledger
from ledger.money import Asset

if TYPE_CHECKING:
    from ledger.chain.publisher import DryRun as Planned
    from ledger.chain.publisher import Outcome
    from ledger.chain.submission import State

EXAMPLE = "Example: ghostledger chain publish --rpc http://127.0.0.1:8545 --keystore publisher.json --dry-run"


class Goal(StrEnum):
    """How far to wait."""

    SENT = "sent"
    FINAL = "final"
    ACTIVE = "active"


def publish(
    rpc: Rpc,
    keystore: KeystoreFile = None,
    password_file: PasswordFile = None,
    signer: SignerUrl = None,
    signer_address: SignerAddress = None,
    distributor: Which = None,
    until: Annotated[Goal, typer.Option(help="How far to wait: sent, final, or active, when it can be claimed.")] = (
        Goal.FINAL
    ),
    timeout: Annotated[
        int | None, typer.Option(min=1, metavar="SECONDS", help="Give up waiting then; asked again, it goes on.")
    ] = None,
    fee_cap: FeeCap = DEFAULT_FEE_CAP,
    dry_run: DryRun = False,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Publish what is payable to everybody who has an address, or go on with what was begun.

    It can be interrupted at any point and asked for again: there is one root, and everybody is credited once.
    """
    from ledger.chain.publisher import Publisher

    cap, node = gwei(fee_cap), node_at(rpc)
    by = signer_of(keystore, password_file, signer, signer_address)
    with Ledger.open(ledger) as books:
        publisher = Publisher(books, node, by, distributor, fee_cap=cap, progress=progress(teller()))
        with books.reading() as session:
            asset = asset_of(session, publisher.distributor.asset)
        if dry_run:
            _show_plan(publisher.dry_run(), asset, as_json)
            return
        waits = None if timeout is None else timedelta(seconds=timeout)
        outcome = publisher.publish(until=until.value, timeout=waits)
    show_outcome(outcome, asset, as_json)


def asset_of(session: Any, code: str) -> Asset:
    """The asset as the ledger counts it."""
    from ledger.cli.typed import commodity_of

    return Asset(code, commodity_of(session, code).exponent)


def progress(tell: Callable[[str], None]) -> Callable[[State], None]:
    """Something that tells how far a publication is."""

    def say_state(state: State) -> None:
        depth = f", {state.depth} blocks deep" if state.depth is not None else ""
        what = f" by {state.transaction}" if state.transaction else ""
        tell(f"root {state.root_id} is {state.stage}{what}{depth}{': ' + state.detail if state.detail else ''}")

    return say_state


def show_outcome(outcome: Outcome, asset: Asset, as_json: bool) -> None:
    """Print how far a publication is."""
    made, state = outcome.publication, outcome.state
    if as_json:
        shown = {
            "publication": made.entry,
            "root_id": made.root_id,
            "root": made.root,
            "total": asset.format(made.total),
        }
        shown |= {"asset": asset.code, "stage": state.stage, "transaction": state.transaction}
        say_json(shown | {"attempts": len(outcome.attempts)})
    else:
        by = f" by {state.transaction}" if state.transaction else ""
        say(f"root {made.root_id} of {asset.format(made.total)} {asset.code} in all is {state.stage}{by}")


def _show_plan(planned: Planned, asset: Asset, as_json: bool) -> None:
    plan = planned.plan
    if as_json:
        due = [
            {**one._asdict(), "amount": asset.format(one.amount), "cumulative": asset.format(one.cumulative)}
            for one in plan.due
        ]
        kept = [{**one._asdict(), "amount": asset.format(one.amount)} for one in plan.kept]
        fees = {"gas": planned.gas, "max_fee_wei": planned.fees.max_fee, "most_wei": planned.cost}
        root = {"root_id": plan.root_id, "root": plan.root, "total": asset.format(plan.total), "asset": asset.code}
        say_json({**root, "due": due, "kept": kept, **fees})
        return
    columns = ["contributor", "address", f"now, {asset.code}", f"in all, {asset.code}"]
    rows = [[o.contributor, o.address, asset.format(o.amount), asset.format(o.cumulative)] for o in plan.due]
    table(f"root {plan.root_id}, of {asset.format(plan.total)} {asset.code} in all", columns, rows, right=columns[2:])
    if plan.kept:
        columns = ["kept back", asset.code, "because"]
        table(None, columns, [[o.contributor, asset.format(o.amount), o.reason] for o in plan.kept], right=columns[1:2])
    say(f"at most {coins(planned.cost)} of the chain's coin for {planned.gas:,} gas; nothing was signed or written")
