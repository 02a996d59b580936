from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ledger import bookkeeping, holds, journal, registry
from ledger.database import Ledger
from ledger.holds import Change, NewHold
from ledger.lines import credit, debit
from ledger.money import Amount, Asset
from ledger.valuation import Booked

PEOPLE = ("alice", "bob.b_c-d", "9th")
EUR, JPY, WEI = Asset("EUR", 2), Asset("JPY", 0), Asset("W31", 18)


@pytest.fixture
def busy(books: Ledger, book: Callable[..., Booked]) -> Ledger:
    """A ledger in which everything has happened once, in several assets, on several days, some of it late."""
    with books.writing() as session:
        for who in PEOPLE:
            registry.add_contributor(session, who, f"{who} Ltd")
            registry.register_dataset(
                session, who, [f"{who} one"], name=who, licence="MIT", consent_given_at="2026-01-01", paths=["x"]
            )
        run = book(session, {"alice": 0.75, "bob.b_c-d": -0.125, "9th": 0.0625}, house=[0.25], gap=[0.001]).run
        for asset in (EUR, JPY, WEI):
            registry.use_asset(session, asset)
            pay(session, asset, 10 ** (asset.exponent + 3) + 7)
        bookkeeping.convert(session, "buyer", Amount(700, EUR), WEI, "0.000123456789", key="convert", reference="T-1")
        hold = holds.open_hold(
            session,
            NewHold("payout", "in_flight:alice", "payable:alice", "paid:alice", "EUR", 5000),
            key="send",
            event_at="2026-02-27T23:59:59Z",
        )
        for change, amount in (("posted", 3000), ("voided", 2000)):
            holds.change(session, [Change(hold.id, change, amount)], kind="payout", subject="payable:alice", key=change)
        late = pay(session, EUR, 99, key="mistake", event_at="2026-02-01").entry
        journal.reverse(session, late.sequence, 'said "yes"; meant no, 100%', event_at="2026-02-02")
        bookkeeping.open_account(session, "withheld", "JPY", floor=None, reason="never used")
        bookkeeping.freeze(session, "payable:9th", "JPY", "moved house")
        journal.reverse(session, run.entry, "another seed")
    return books


def pay(session: Any, asset: Asset, units: int, *, key: str = "pay", **options: Any) -> journal.Posted:
    """A payment by the buyer that is owed to alice and 9th at once."""
    code = asset.code
    return journal.post(
        session,
        kind="test",
        subject=f"run of {code}",
        key=f"{key} {code}",
        payload={"units": str(units)},
        parts=[("alice", {"units": str(units - 3)}), ("9th", {"units": "3"})],
        lines=[debit("buyer", code, units), credit("payable:alice", code, units - 3), credit("payable:9th", code, 3)],
        **options,
    )
