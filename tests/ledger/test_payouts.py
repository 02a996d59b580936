"""What ends a payout, whoever's account it was taken from."""

from __future__ import annotations

import pytest

from ledger import balances, holds, journal, payouts, registry
from ledger.audit import audit
from ledger.database import Ledger
from ledger.holds import NewHold
from ledger.lines import credit, debit
from ledger.money import Asset


@pytest.mark.parametrize("end", ["confirmed", "failed"])
def test_a_payout_from_an_account_that_is_nobodys_ends_like_another(staffed: Ledger, end: str) -> None:
    with staffed.writing() as session:
        registry.use_asset(session, Asset("EUR", 2))
        lines = [debit("buyer", "EUR", 100), credit("surplus", "EUR", 100)]
        journal.post(session, kind="test", subject="x", key="in", payload={}, lines=lines)
        hold = holds.open_hold(
            session, NewHold("payout", "in_flight:alice", "surplus", "paid:alice", "EUR", 40), key="hold"
        )
        if end == "confirmed":
            posted = payouts.confirm(session, hold.id, key="end")
        else:
            posted = payouts.fail(session, hold.id, "test", key="end")
        assert posted.entry.subject == "surplus"
        assert balances.balance(session, "surplus", "EUR") == (60 if end == "confirmed" else 100)
        assert audit(session).ok
