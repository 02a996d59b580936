"""`ghostledger balance` and `ghostledger trial-balance`: what accounts hold, now or as of a day."""

from __future__ import annotations

from collections import defaultdict
from typing import Annotated

import typer

from ledger import accounts, balances
from ledger.balances import Moment
from ledger.cli.options import DEFAULT_LEDGER, AsJson, LedgerPlace
from ledger.cli.output import say, say_json, table
from ledger.cli.typed import commodity_of
from ledger.database import Ledger
from ledger.money import format_units

BALANCE_EXAMPLE = "Example: ghostledger balance payable:alice --event-at 2026-03-31"
TRIAL_EXAMPLE = "Example: ghostledger trial-balance --event-at 2026-03-31 --json"

EventAt = Annotated[
    str | None, typer.Option(metavar="DATE", help="Of what had happened by then; a date includes its day, UTC.")
]
RecordedAt = Annotated[
    str | None, typer.Option(metavar="DATE", help="Of what had been recorded by then; a date includes its day, UTC.")
]


def balance(
    account: Annotated[str, typer.Argument(help="Such as escrow, or payable:alice.")],
    event_at: EventAt = None,
    recorded_at: RecordedAt = None,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Print what an account holds in each asset, on its normal side."""
    accounts.split_name(account)
    moment = Moment.of(event_at, recorded_at)
    with Ledger.open(ledger) as books, books.reading() as session:
        held = {
            code: format_units(amount, commodity_of(session, code).exponent)
            for code, amount in balances.balances(session, account, moment).items()
        }
    if as_json:
        say_json({"account": account, "balances": held})
        return
    for code, amount in held.items():
        say(f"{account} holds {amount} {code}")
    if not held:
        say(f"{account} was never touched")


def trial_balance(
    event_at: EventAt = None,
    recorded_at: RecordedAt = None,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Print every account's debits, credits and balance; in each asset the two columns have one sum."""
    moment = Moment.of(event_at, recorded_at)
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    rows = []
    with Ledger.open(ledger) as books, books.reading() as session:
        for total in balances.totals(session, moment):
            exponent = commodity_of(session, total.commodity).exponent
            sums[total.commodity][0] += total.debit
            sums[total.commodity][1] += total.credit
            figures = [format_units(amount, exponent) for amount in (total.debit, total.credit, total.balance)]
            rows.append([total.account, total.commodity, *figures, total.normal_side])
        totals = {
            code: [format_units(amount, commodity_of(session, code).exponent) for amount in both]
            for code, both in sorted(sums.items())
        }
    names = ["account", "asset", "debit", "credit", "balance", "normal_side"]
    if as_json:
        said = {code: {"debit": both[0], "credit": both[1]} for code, both in totals.items()}
        say_json({"accounts": [dict(zip(names, row, strict=True)) for row in rows], "totals": said})
        return
    last = [["", code, *both, "", ""] for code, both in totals.items()]
    table(None, names, [*rows, *last], right={"debit", "credit", "balance"}, section=len(rows))
