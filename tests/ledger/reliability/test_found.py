"""What the other tests here have found, each as the claim that it broke."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlmodel import Session

from ledger import accounts, balances, bookkeeping, disputes, holds, payouts, releases, settlement
from ledger.audit import audit
from ledger.corrections import reverse_entry
from ledger.database import Ledger
from ledger.errors import (
    AssetError,
    IdempotencyConflictError,
    NotALedgerError,
    ReversalError,
    SettingError,
    UnknownContributorError,
)
from ledger.money import Amount
from ledger.policies import Holdback
from ledger.policies.terms import Terms
from ledger.valuation import Booked

POOL = Terms("pool", Amount.parse("100.00 EUR"))
Book = Callable[..., Booked]


def held_back(session: Session, book: Book, **values: float) -> None:
    """A settlement of 100 EUR of which a tenth is held back until yesterday."""
    agreed = replace(POOL, policies=(Holdback(1000, "2026-03-01"),))
    settlement.settle(session, book(session, values).run.id, agreed)


def test_a_release_that_was_reversed_can_be_made_again(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        held_back(session, book, alice=1.0)
        first = releases.release(session)
        assert first.entry is not None
        holds.reverse(session, first.entry, "too early")
        assert balances.balance(session, "holdback:alice", "EUR") == 1000
        again = releases.release(session)
        assert again.entry not in (None, first.entry)
        assert balances.balance(session, "payable:alice", "EUR") == 10_000
        assert audit(session).ok


def test_a_frozen_account_keeps_back_no_release_but_its_own(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        held_back(session, book, alice=0.5, bob=0.5)
        bookkeeping.freeze(session, "payable:bob", "EUR", "suspicion")
        released = releases.release(session)
        assert [hold.account for hold, _ in released.holds] == ["holdback:alice"]
        assert [(hold.account, why) for hold, why in released.kept] == [("holdback:bob", "payable:bob is frozen")]
        assert balances.balances(session, "payable:alice") == {"EUR": 5000}
        assert balances.balances(session, "holdback:bob") == {"EUR": 500}


@pytest.mark.parametrize(
    ("name", "commodity", "error"),
    [("payable:nobody", "nat", UnknownContributorError), ("payable:alice", "XYZ", AssetError)],
)
def test_an_account_is_opened_for_somebody_in_something(
    staffed: Ledger, name: str, commodity: str, error: type[Exception]
) -> None:
    with staffed.writing() as session:
        with pytest.raises(error):
            bookkeeping.open_account(session, name, commodity, floor=None, reason="test")
        assert accounts.state(session, name, commodity) == "open"


def test_the_key_of_a_payout_belongs_to_whom_it_went(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        settlement.settle(session, book(session, {"alice": 0.5, "bob": 0.5}).run.id, POOL)
        sent = payouts.start(session, "alice", "EUR", key="monday")
        assert payouts.start(session, "alice", "EUR", key="monday").id == sent.id
        for who, asset in (("bob", "EUR"), ("alice", "USD")):
            with pytest.raises((IdempotencyConflictError, AssetError)):
                payouts.start(session, who, asset, key="monday")
        assert payouts.start(session, "bob", "EUR", key="tuesday").amount == 5000


def test_another_programs_database_is_not_changed_by_refusing_it(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "songs.db") as database:
        database.execute("CREATE TABLE songs (title)")
    database.close()
    before = (tmp_path / "songs.db").read_bytes()
    with pytest.raises(NotALedgerError):
        Ledger.open(tmp_path / "songs.db")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"songs.db": before}


def test_folders_made_for_a_ledger_that_was_not_made_are_taken_away(tmp_path: Path) -> None:
    with pytest.raises(SettingError):
        Ledger.create(tmp_path / "new" / "folder" / "books.db", tolerance="much")
    assert list(tmp_path.iterdir()) == []


def test_what_is_disputed_is_not_let_go_by_reversing_its_hold(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        made = settlement.settle(session, book(session, {"alice": 0.5, "bob": 0.5}).run.id, POOL).settlement
        assert made is not None
        dispute = disputes.open_dispute(session, "alice", "bob", made.entry, Amount.parse("5.00 EUR"), "0" * 64)
        with pytest.raises(ReversalError, match="disputed"):
            reverse_entry(session, disputes.hold_row(session, dispute).entry, "mistyped")
        disputes.resolve(session, dispute.entry, "claimant", "true")
        assert balances.balances(session, "payable:alice") == {"EUR": 5500}
        assert audit(session).ok
