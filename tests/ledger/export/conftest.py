from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlmodel import Session

from ledger import bookkeeping, disputes, journal, payouts, periods, registry, releases, settlement, stakes
from ledger.database import Ledger
from ledger.lines import credit, debit
from ledger.money import Amount, Asset
from ledger.policies import Cap, Holdback, Minimum, StopPayment, Terms, Vesting, Withholding
from ledger.valuation import Booked
from tests.ledger import on_chain

ALICE, BOB, NINTH = "alice", "bob.b_c-d", "9th"
EUR, JPY, WEI = Asset("EUR", 2), Asset("JPY", 0), Asset("W31", 18)
POLICIES = (
    Cap(40_000),
    Withholding(1000),
    Minimum(5000),
    Holdback(1000, "2026-02-15"),
    Vesting(((None, 1), ("2027-01-01", 2))),
    StopPayment(),
)


@pytest.fixture
def busy(books: Ledger, book: Callable[..., Booked]) -> Ledger:
    """A ledger in which everything has happened, in several assets, on several days, some of it late."""
    with books.writing() as session:
        for who in (ALICE, BOB, NINTH):
            registry.add_contributor(session, who, f"{who} Ltd")
            registry.register_dataset(
                session, who, [f"{who} one"], name=who, licence="MIT", consent_given_at="2026-01-01", paths=["x"]
            )

        def settle(values: tuple[float, ...], amount: Amount, mode: Any, *policies: Any, **terms: Any) -> Any:
            run = book(session, dict(zip((ALICE, BOB, NINTH), values, strict=True)), house=[0.25], gap=[0.001]).run
            return settlement.settle(session, run.id, Terms(mode, amount, policies=policies, **terms))

        capped = settle((0.75, 0.5, 0.0625), Amount(100_007, EUR), "pool", *POLICIES, fee_basis_points=250)
        carried = settle((0.5, -0.25, 0.125), Amount(12_345, JPY), "rate", negative="carry")
        stakes.deposit(session, BOB, Amount(7 * 10**18 + 7, WEI), key="stake", reference="T-2")
        settle((0.5, -0.25, 0.125), Amount(10**19 + 1, WEI), "rate", negative="slash")
        settle((0.5, 0.25, 0.125), Amount(10**21 + 1, WEI), "pool")
        wrong = settle((0.25, 0.25, 0.25), Amount(99_999, EUR), "pool", Holdback(5000, "2026-07-01"))
        settlement.reverse(session, wrong.scope.runs, 'said "yes"; meant no, 100%')
        first = capped.settlement.entry
        won = disputes.open_dispute(session, ALICE, BOB, first, Amount(1234, EUR), "a" * 64)
        disputes.resolve(session, won.entry, "claimant", "copies")
        disputes.open_dispute(session, NINTH, ALICE, first, Amount(99, EUR), "b" * 64)
        disputes.open_dispute(session, ALICE, None, carried.settlement.entry, Amount(9, JPY), "c" * 64)
        settle((0.25, 0.25, 0.25), Amount(30_000, EUR), "pool", StopPayment())
        releases.release(session)
        sent = payouts.start(session, BOB, "EUR", 5000, key="send", event_at="2026-02-27T23:59:59Z")
        payouts.confirm(session, sent.id, 2999, key="arrived")
        payouts.fail(session, sent.id, "closed", 1001, key="came back")
        on_chain.pay_to(session, BOB)
        on_chain.publish(session, on_chain.intend(session, on_chain.distribute(session, asset=WEI)))
        bookkeeping.convert(session, "buyer", Amount(700, EUR), WEI, "0.000123456789", key="convert", reference="T-1")
        bookkeeping.open_account(session, "withheld", "JPY", floor=None, reason="never used")
        bookkeeping.freeze(session, f"payable:{NINTH}", "JPY", "moved house")
        periods.close_period(session, "2026-02-28")
        pay(session, EUR, 99, key="late", event_at="2026-02-01")
    return books


def pay(session: Session, asset: Asset, units: int, *, key: str = "pay", **options: Any) -> journal.Posted:
    """A payment by the buyer that is owed to two contributors at once."""
    code = asset.code
    return journal.post(
        session,
        kind="test",
        subject=f"run of {code}",
        key=f"{key} {code}",
        payload={"units": str(units)},
        parts=[(ALICE, {"units": str(units - 3)}), (NINTH, {"units": "3"})],
        lines=[debit("buyer", code, units), credit("payable:alice", code, units - 3), credit("payable:9th", code, 3)],
        **options,
    )
