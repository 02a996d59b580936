"""`ghostledger settle`: turn runs' values into what everybody is owed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attribution.record import MANIFEST, RunRecord
from ledger.cli.options import DEFAULT_LEDGER, AllowPartial, AsJson, Exponent, LedgerPlace
from ledger.cli.output import say_json
from ledger.cli.settled import settled_json, show_settled
from ledger.database import Ledger
from ledger.errors import TermsError
from ledger.money import Amount, Asset
from ledger.policies import Cap, Holdback, Minimum, Policy, StopPayment, Terms, Vesting, Withholding
from ledger.settlement import settle as settle_runs

EXAMPLE = "Example: ghostledger settle 3f9a01c2 --pool 10000.00 EUR --fee 250 --holdback 1000 2027-01-01 --dry-run"
AT_ONCE = "now"

Runs = Annotated[list[str], typer.Argument(help="Runs settled together: identities, their first digits, or folders.")]


def settle(
    runs: Runs,
    pool: Annotated[
        tuple[str, str] | None, typer.Option(metavar="AMOUNT ASSET", help="Divide this budget by the positive values.")
    ] = None,
    rate: Annotated[
        tuple[str, str] | None, typer.Option(metavar="AMOUNT ASSET", help="Pay this price for each nat.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="Settle the values of this task alone, unweighted.")] = None,
    by: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Pay by this valuation of the runs (`ghostledger valuation list`)."),
    ] = None,
    negative: Annotated[
        str,
        typer.Option(
            help="Negative values: floor (paid nothing), carry (owed, netted from later payouts) or slash (taken from "
            "the stake)."
        ),
    ] = "floor",
    fee: Annotated[int, typer.Option(metavar="BASIS_POINTS", help="The operator's fee; 100 are one percent.")] = 0,
    cap: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="The most for one contributor; the rest is surplus.")
    ] = None,
    cap_share: Annotated[
        int | None, typer.Option(metavar="BASIS_POINTS", help="The same as a part of what all contributors get.")
    ] = None,
    redistribute: Annotated[
        bool, typer.Option("--redistribute", help="Give what exceeds the cap to the others, up to theirs.")
    ] = False,
    withhold: Annotated[int, typer.Option(metavar="BASIS_POINTS", help="Tax to keep back for the authorities.")] = 0,
    minimum: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="Less than this accrues until it is enough; 0 pays it all.")
    ] = None,
    holdback: Annotated[
        tuple[int, str] | None,
        typer.Option(metavar="BASIS_POINTS DATE", help="Keep back a part until a date, for `release`."),
    ] = None,
    vest: Annotated[
        list[str] | None,
        typer.Option(metavar="DATE=PARTS", help="An instalment, for `release`; repeat it. now=1 is payable at once."),
    ] = None,
    pay_stopped: Annotated[
        bool, typer.Option("--pay-stopped", help="Pay also while there is a dispute, or where consent was withdrawn.")
    ] = False,
    exponent: Exponent = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be booked, and book nothing.")] = False,
    allow_partial: AllowPartial = False,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Settle booked runs, once: divide a budget, or pay a price for each nat, to the last minor unit.

    The policies apply in the order of their options. The same terms again show the first settlement; other terms are
    refused, and so is a run that is settled in another combination. So is a run whose gap is beyond the ledger's
    tolerance, or whose data lacked consent when it began.
    """
    stated = pool or rate
    if stated is None or (pool and rate):
        raise TermsError("--pool, --rate", "give one of the two, such as --pool 10000.00 EUR")
    amount, code = stated
    asset = Asset.named(code, exponent)
    policies: list[Policy] = []
    if cap is not None or cap_share is not None:
        policies.append(Cap(None if cap is None else asset.parse(cap), cap_share, redistribute))
    elif redistribute:
        raise TermsError("--redistribute", "says what becomes of what exceeds a cap; give --cap or --cap-share")
    if withhold:
        policies.append(Withholding(withhold))
    if minimum is not None:
        policies.append(Minimum(asset.parse(minimum)))
    if holdback is not None:
        policies.append(Holdback(*holdback))
    if vest:
        policies.append(Vesting(tuple(_instalment(text) for text in vest)))
    if not pay_stopped:
        policies.append(StopPayment())
    terms = Terms(
        mode="pool" if pool else "rate",
        amount=Amount(asset.parse(amount), asset),
        negative=negative,  # type: ignore[arg-type]  # checked by the terms
        fee_basis_points=fee,
        partial=allow_partial,
        task=task,
        policies=tuple(policies),
        by=by,
    )
    named = [identity(run) for run in runs]
    with Ledger.open(ledger) as books:
        if dry_run:
            with books.reading() as session:
                settled = settle_runs(session, named, terms, dry_run=True)
        else:
            settled = books.transact(lambda session: settle_runs(session, named, terms))
    if as_json:
        say_json(settled_json(settled, dry_run))
    else:
        show_settled(settled)


def identity(run: str) -> str:
    """The identity of the run whose record lies in the folder `run`, or in its folder ``record``; else `run` itself."""
    for folder in (Path(run), Path(run) / "record"):
        if (folder / MANIFEST).is_file():
            return RunRecord.load(folder).identity
    return run


def _instalment(text: str) -> tuple[str | None, int]:
    at, _, parts = text.partition("=")
    if not parts.isascii() or not parts.isdigit():
        raise TermsError("--vest", f"{text!r} is no instalment; give a date and its parts, such as 2027-01-01=3")
    return (None if at == AT_ONCE else at), int(parts)
