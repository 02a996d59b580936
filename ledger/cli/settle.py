"""`ghostledger settle`: turn a run's values into what everybody is owed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from attribution.record import MANIFEST, RunRecord
from ledger.cli.options import DEFAULT_LEDGER, AllowPartial, AsJson, LedgerPlace
from ledger.cli.output import say, say_json, table
from ledger.database import Ledger
from ledger.errors import TermsError
from ledger.money import Amount, Asset, format_nats
from ledger.policies.terms import Negative, Terms
from ledger.settlement import Settled
from ledger.settlement import settle as settle_run

EXAMPLE = "Example: ghostledger settle 3f9a01c2 --pool 10000.00 EUR --fee 250 --dry-run"


def settle(
    run: Annotated[str, typer.Argument(help="The run's identity, its first digits, or its folder.")],
    pool: Annotated[
        tuple[str, str] | None, typer.Option(metavar="AMOUNT ASSET", help="Divide this budget by the positive values.")
    ] = None,
    rate: Annotated[
        tuple[str, str] | None, typer.Option(metavar="AMOUNT ASSET", help="Pay this price for each nat.")
    ] = None,
    negative: Annotated[
        str, typer.Option(help="Negative values: floor (paid nothing) or carry (owed, netted from later payouts).")
    ] = "floor",
    fee: Annotated[int, typer.Option(metavar="BASIS_POINTS", help="The operator's fee; 100 are one percent.")] = 0,
    exponent: Annotated[
        int | None, typer.Option(help="Decimals of the asset, where it is not an ISO 4217 currency.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be booked, and book nothing.")] = False,
    allow_partial: AllowPartial = False,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Settle a booked run, once: divide a budget, or pay a price for each nat, to the last minor unit.

    The same terms again show the first settlement; other terms are refused. So is a run whose gap is beyond the
    ledger's tolerance, or whose data lacked consent when it began.
    """
    terms = _terms(pool, rate, negative, fee, exponent, allow_partial)
    identity = _identity(run)
    with Ledger.open(ledger) as books, books.reading() if dry_run else books.writing() as session:
        settled = settle_run(session, identity, terms, dry_run=dry_run)
    if as_json:
        say_json(_json(settled, dry_run))
    else:
        _show(settled, dry_run)


def _identity(run: str) -> str:
    """The identity of the run whose record lies in the folder `run`, or in its folder ``record``; else `run` itself."""
    for folder in (Path(run), Path(run) / "record"):
        if (folder / MANIFEST).is_file():
            return RunRecord.load(folder).identity
    return run


def _terms(
    pool: tuple[str, str] | None,
    rate: tuple[str, str] | None,
    negative: str,
    fee: int,
    exponent: int | None,
    partial: bool,
) -> Terms:
    stated = pool or rate
    if stated is None or (pool and rate):
        raise TermsError("--pool, --rate", "give one of the two, such as --pool 10000.00 EUR")
    amount, code = stated
    asset = Asset.named(code, exponent)
    treatment: Negative
    match negative:
        case "floor" | "carry":
            treatment = negative
        case _:
            raise TermsError("--negative", f"{negative!r} is neither 'floor' nor 'carry'")
    return Terms("pool" if pool else "rate", Amount(asset.parse(amount), asset), treatment, fee, partial)


def _json(settled: Settled, dry_run: bool) -> dict[str, object]:
    asset, outcome, made = settled.terms.amount.asset, settled.outcome, settled.settlement
    return {
        "run": settled.run,
        "terms": str(settled.terms),
        "asset": asset.code,
        "dry_run": dry_run,
        "repeated": settled.repeated,
        "entry": made.entry if made else None,
        "funding_entry": made.funding if made else None,
        **{name: asset.format(getattr(outcome, name)) for name in ("funded", "fee", "house", "gap")},
        "payouts": [
            {
                "contributor": payout.contributor,
                "value_nats": format_nats(payout.value),
                **{
                    name: asset.format(figure)
                    for name, figure in asdict(payout).items()
                    if name not in ("contributor", "value")
                },
            }
            for payout in outcome.payouts
        ],
    }


def _show(settled: Settled, dry_run: bool) -> None:
    asset, outcome = settled.terms.amount.asset, settled.outcome
    payouts = sorted(outcome.payouts, key=lambda payout: (-payout.value, payout.contributor))
    # Columns of nothing but zeros would only hide the others.
    shown = [
        (heading, name)
        for heading, name in (("− netted", "netted"), ("+ forgiven", "forgiven"), ("+ carried", "carried"))
        if any(getattr(payout, name) for payout in payouts)
    ]
    columns = ["contributor", "value, nats", f"share, {asset}", *(heading for heading, _ in shown), f"paid, {asset}"]
    rows = [
        [
            payout.contributor,
            format_nats(payout.value),
            asset.format(payout.share),
            *(asset.format(getattr(payout, name)) for _, name in shown),
            asset.format(payout.paid),
        ]
        for payout in payouts
    ]
    blank = [""] * (len(columns) - 2)
    rows += [[name, *blank, asset.format(getattr(outcome, name))] for name in ("fee", "house", "gap", "funded")]
    table(str(settled.terms), columns, rows, right=set(columns[1:]), section=len(payouts))
    if settled.settlement is None:
        say(f"run {settled.run[:12]}: dry run, nothing is booked")
    elif settled.repeated:
        say(f"run {settled.run[:12]}: settled before on these terms, by entry {settled.settlement.entry}")
    else:
        say(f"run {settled.run[:12]}: settled by entry {settled.settlement.entry}")
