"""How a settlement is shown: every figure that is not zero for everybody, and where each minor unit is."""

from __future__ import annotations

from typing import Any

from ledger.cli.output import say, table
from ledger.money import Asset, format_nats
from ledger.policies.outcome import Payout
from ledger.settlement import Settled

# (heading, figure or home): what a share goes through from left to right.
_FIGURES = (
    ("+ forgiven", "forgiven"),
    ("+ carried", "carried"),
    ("+ slashed", "slashed"),
    ("+ accrued before", "drawn"),
    ("± redistributed", "redistributed"),
    ("− netted", "netted"),
)
_HOMES = (
    ("− surplus", "surplus"),
    ("− withheld", "withheld"),
    ("− accrued", "accrued"),
    ("− held back", "holdback"),
    ("− vesting", "vesting"),
    ("− stopped", "stopped"),
)


def payout_json(payout: Payout, asset: Asset) -> dict[str, Any]:
    """A payout's figures as decimal text."""
    return {
        "contributor": payout.contributor,
        "value_nats": format_nats(payout.value),
        "share": asset.format(payout.share),
        **{name: asset.format(getattr(payout, name)) for _, name in _FIGURES},
        "parts": [
            {
                "home": part.home,
                "amount": asset.format(part.amount),
                "release_at": part.release_at,
                "reason": part.reason,
            }
            for part in payout.parts
        ],
        "paid": asset.format(payout.paid),
        "payees": {payee: asset.format(amount) for payee, amount in payout.payees.items()},
    }


def settled_json(settled: Settled, dry_run: bool) -> dict[str, Any]:
    """A settlement as plain values."""
    asset, outcome, made = settled.terms.asset, settled.outcome, settled.settlement
    return {
        "runs": list(settled.scope.runs),
        "task": settled.scope.task,
        "terms": str(settled.terms),
        "asset": asset.code,
        "dry_run": dry_run,
        "repeated": settled.repeated,
        "entry": made.entry if made else None,
        "funding_entry": made.funding if made else None,
        "attempt": made.attempt if made else None,
        **{name: asset.format(getattr(outcome, name)) for name in ("funded", "fee", "house", "gap")},
        "payouts": [payout_json(payout, asset) for payout in outcome.payouts],
    }


def show_settled(settled: Settled) -> None:
    """Print a settlement as a table, and what was booked."""
    asset, outcome = settled.terms.asset, settled.outcome
    payouts = sorted(outcome.payouts, key=lambda payout: (-payout.value, payout.contributor))
    # Columns of nothing but zeros would only hide the others.
    figures = [(heading, name) for heading, name in _FIGURES if any(getattr(payout, name) for payout in payouts)]
    homes = [(heading, home) for heading, home in _HOMES if any(payout.at(home) for payout in payouts)]
    columns = [
        "contributor",
        "value, nats",
        f"share, {asset}",
        *(heading for heading, _ in [*figures, *homes]),
        f"paid, {asset}",
    ]
    rows = [
        [
            payout.contributor,
            format_nats(payout.value),
            asset.format(payout.share),
            *(asset.format(getattr(payout, name)) for _, name in figures),
            *(asset.format(payout.at(home)) for _, home in homes),
            asset.format(payout.paid),
        ]
        for payout in payouts
    ]
    blank = [""] * (len(columns) - 2)
    rows += [[name, *blank, asset.format(getattr(outcome, name))] for name in ("fee", "house", "gap", "funded")]
    table(str(settled.terms), columns, rows, right=set(columns[1:]), section=len(payouts))
    for payout in payouts:
        for part in payout.parts:
            if part.reason:
                say(f"{payout.contributor}: {asset.format(part.amount)} {asset} stopped: {part.reason}")
        if payout.payees and list(payout.payees) != [payout.contributor]:
            shares = ", ".join(f"{payee} {asset.format(amount)}" for payee, amount in payout.payees.items())
            say(f"{payout.contributor}: {asset} paid to {shares}")
    say(_what_was_booked(settled))


def _what_was_booked(settled: Settled) -> str:
    if settled.settlement is None:
        return f"{settled.scope}: dry run, nothing is booked"
    if settled.repeated:
        return f"{settled.scope}: settled before on these terms, by entry {settled.settlement.entry}"
    return f"{settled.scope}: settled by entry {settled.settlement.entry}"
