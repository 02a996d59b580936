import json
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlmodel import Session

from ledger import accounts, balances, bookkeeping, holds, journal, registry
from ledger.audit import audit
from ledger.bookkeeping import REMITTED, converted
from ledger.database import Ledger
from ledger.errors import (
    AccountError,
    AccountLimitError,
    AccountShutError,
    AmountError,
    AssetError,
    HeldAccountError,
    IdempotencyConflictError,
    LedgerError,
    UnknownContributorError,
)
from ledger.holds import Change, NewHold
from ledger.lines import credit, debit
from ledger.models import Account
from ledger.money import LARGEST_AMOUNT, Amount, Asset

EUR, JPY, WEI, DOLLAR = Asset("EUR", 2), Asset("JPY", 0), Asset("WEI", 18), Asset("USD", 2)


def pay_in(session: Session, name: str = "payable:alice", amount: int = 100) -> None:
    registry.use_asset(session, EUR)
    key = f"pay in {journal.head(session)[0]}"
    lines = [debit("buyer", "EUR", amount), credit(name, "EUR", amount)]
    journal.post(session, kind="test", subject=name, key=key, payload={}, lines=lines)


def held(session: Session, *names: str, commodity: str = "EUR") -> list[int]:
    return [balances.balance(session, name, commodity) for name in names]


# Freezing and closing


def test_an_account_is_frozen_and_freed_in_turn_each_with_its_reason(staffed: Ledger) -> None:
    with staffed.writing() as session:
        pay_in(session)
        for step, state in ((bookkeeping.freeze, "frozen"), (bookkeeping.free, "open")):
            change = step(session, "payable:alice", "EUR", "looked into")
            assert journal.entry(session, change.entry).reason == "looked into"
            assert accounts.state(session, "payable:alice", "EUR") == state
            with pytest.raises(AccountError, match=f"is {state} in EUR"):
                step(session, "payable:alice", "EUR", "again")
        bookkeeping.freeze(session, "payable:alice", "EUR", "again")
        with pytest.raises(AccountError, match="is frozen in EUR and cannot be closed"):
            bookkeeping.close(session, "payable:alice", "EUR", "payable:bob", "left")
        assert audit(session).ok


def test_freezing_in_one_commodity_leaves_the_others(staffed: Ledger) -> None:
    with staffed.writing() as session:
        pay_in(session)
        bookkeeping.convert(session, "payable:alice", Amount(50, EUR), JPY, "160", key="c")
        bookkeeping.freeze(session, "payable:alice", "EUR", "looked into")
        with pytest.raises(AccountShutError):
            pay_in(session)
        bookkeeping.convert(session, "payable:alice", Amount(10, JPY), DOLLAR, "0.01", key="d")


@pytest.mark.parametrize(
    ("name", "to"), [("payable:alice", "house"), ("receivable:alice", "receivable:bob"), ("buyer", "bank")]
)
def test_a_closed_accounts_rest_is_swept_to_another(staffed: Ledger, name: str, to: str) -> None:
    with staffed.writing() as session:
        registry.use_asset(session, EUR)
        lines = [
            credit(name, "EUR", 7 if name == "payable:alice" else -7),
            debit("gap", "EUR", 7 if name == "payable:alice" else -7),
        ]
        journal.post(session, kind="test", subject="x", key="k", payload={}, lines=lines)
        bookkeeping.close(session, name, "EUR", to, "left")
        assert held(session, name, to) == [0, 7]
        assert accounts.state(session, name, "EUR") == "closed"
        with pytest.raises(AccountShutError, match="closed"):
            journal.post(session, kind="test", subject="x", key="l", payload={}, lines=lines)
        for step in (bookkeeping.freeze, bookkeeping.free):
            with pytest.raises(AccountError, match="is closed"):
                step(session, name, "EUR", "after all")
        assert audit(session).ok


def _frozen_target(session: Session) -> None:
    pay_in(session, "payable:bob")
    bookkeeping.freeze(session, "payable:bob", "EUR", "looked into")


def _hold(session: Session) -> None:
    hold = NewHold("holdback", "holdback:bob", "payable:alice", "payable:bob", "EUR", 10)
    holds.open_hold(session, hold, key="hold")


NOT_CLOSED: list[tuple[str, Callable[[Session], None] | None, str | None, type[LedgerError]]] = [
    ("nowhere to sweep to", None, None, AccountError),
    ("to itself", None, "payable:alice", AccountError),
    ("to no account", None, "purse", AccountError),
    ("to a stranger", None, "payable:zoe", UnknownContributorError),
    ("to an account of holds", None, "holdback:alice", HeldAccountError),
    ("to a frozen account", _frozen_target, "payable:bob", AccountShutError),
    ("while a hold comes from it", _hold, "payable:bob", AccountError),
]


@pytest.mark.parametrize(
    ("first", "to", "error"), [case[1:] for case in NOT_CLOSED], ids=[case[0] for case in NOT_CLOSED]
)
def test_an_account_that_cannot_be_emptied_or_is_waited_on_is_not_closed(
    staffed: Ledger, first: Callable[[Session], None] | None, to: str | None, error: type[LedgerError]
) -> None:
    with staffed.writing() as session:
        pay_in(session)
        if first is not None:
            first(session)
        before = held(session, "payable:alice")
        with pytest.raises(error):
            bookkeeping.close(session, "payable:alice", "EUR", to, "left")
        assert accounts.state(session, "payable:alice", "EUR") == "open"
        assert held(session, "payable:alice") == before


def test_what_a_hold_is_meant_for_is_closed_once_the_hold_has_ended(staffed: Ledger) -> None:
    with staffed.writing() as session:
        pay_in(session, "payable:bob")
        pay_in(session)
        _hold(session)
        for name in ("payable:bob", "holdback:bob"):
            with pytest.raises(AccountError, match="hold 1"):
                bookkeeping.close(session, name, "EUR", "house", "left")
        holds.change(session, [Change(1, holds.VOIDED)], kind="release", subject="x", key="void")
        bookkeeping.close(session, "payable:bob", "EUR", "house", "left")
        bookkeeping.close(session, "holdback:bob", "EUR", None, "left")
        assert audit(session).ok


# Opening


@pytest.mark.parametrize("floor", [None, 0, -50, 5])
def test_an_account_may_be_opened_with_a_floor_of_its_own(staffed: Ledger, floor: int | None) -> None:
    with staffed.writing() as session:
        registry.use_asset(session, EUR)
        opened = bookkeeping.open_account(session, "payable:alice", "EUR", floor=floor, reason="credit line")
        assert (opened.floor, journal.entry(session, opened.entry).reason) == (floor, "credit line")
        for amount, held_after in ((-51, -51), (-50, -50), (-1, -1), (4, 4), (5, 5)):
            lines = [debit("buyer", "EUR", amount), credit("payable:alice", "EUR", amount)]
            said: dict[str, Any] = {"kind": "test", "subject": "x", "key": f"k{amount}", "payload": {}}
            if floor is not None and held_after < floor:
                with pytest.raises(AccountLimitError):
                    journal.post(session, lines=lines, **said)
            else:
                entry = journal.post(session, lines=lines, **said).entry.sequence
                if floor != 5:
                    journal.reverse(session, entry, "back")
        assert audit(session).ok


NOT_OPENED: list[tuple[str, str, str, int | None, type[LedgerError]]] = [
    ("open already", "escrow", "EUR", None, AccountError),
    ("no such kind", "purse", "EUR", None, AccountError),
    ("a stranger's", "payable:zoe", "EUR", None, UnknownContributorError),
    ("no such commodity", "house", "GOLD", None, AssetError),
    ("a floor beyond any amount", "house", "EUR", -(LARGEST_AMOUNT + 1), AmountError),
]


@pytest.mark.parametrize(
    ("name", "commodity", "floor", "error"), [case[1:] for case in NOT_OPENED], ids=[case[0] for case in NOT_OPENED]
)
def test_an_account_that_cannot_be_is_not_opened(
    staffed: Ledger, name: str, commodity: str, floor: int | None, error: type[LedgerError]
) -> None:
    with staffed.writing() as session:
        pay_in(session, "escrow")
        before = journal.head(session)
        with pytest.raises(error):
            bookkeeping.open_account(session, name, commodity, floor=floor, reason="x")
        assert journal.head(session) == before
        assert session.get(Account, ("house", "GOLD")) is None


# Conversion


def test_a_conversion_is_one_entry_of_two_legs_with_the_rate_noted(staffed: Ledger) -> None:
    with staffed.writing() as session:
        pay_in(session, amount=10_000)
        posted = bookkeeping.convert(
            session, "payable:alice", Amount.parse("50.00 EUR"), WEI, "0.000271828", key="c", reference="FX-1"
        )
        assert held(session, "payable:alice", "conversion") == [5000, 5000]
        wei = 50 * 271_828 * 10**9
        assert held(session, "payable:alice", "conversion", commodity="WEI") == [wei, -wei]
        assert len(journal.lines_of(session, posted.entry.sequence)) == 4
        assert json.loads(posted.entry.payload) == {
            "account": "payable:alice",
            "given": "50.00 EUR",
            "received": "0.013591400000000000 WEI",
            "rate": "0.000271828",
        }
        assert posted.entry.reference == "FX-1"
        assert audit(session).ok


def test_a_debt_is_owed_in_the_new_asset_afterwards(staffed: Ledger) -> None:
    with staffed.writing() as session:
        registry.use_asset(session, EUR)
        lines = [debit("receivable:alice", "EUR", 100), credit("gap", "EUR", 100)]
        journal.post(session, kind="test", subject="x", key="k", payload={}, lines=lines)
        bookkeeping.convert(session, "receivable:alice", Amount(100, EUR), DOLLAR, "1.10", key="c")
        assert held(session, "receivable:alice") == [0]
        assert held(session, "receivable:alice", commodity="USD") == [110]


@given(
    minor=st.integers(1, LARGEST_AMOUNT),
    given_asset=st.sampled_from([EUR, JPY, WEI]),
    asset=st.sampled_from([DOLLAR, Asset("KWD", 3), Asset("TOK", 18)]),
    rate=st.from_regex(r"[0-9]{1,6}(\.[0-9]{1,18})?", fullmatch=True),
)
def test_a_conversion_gives_what_the_rate_says_rounded_down(
    minor: int, given_asset: Asset, asset: Asset, rate: str
) -> None:
    exact = Fraction(minor, 10**given_asset.exponent) * Fraction(rate)
    try:
        received = converted(Amount(minor, given_asset), asset, rate)
    except AmountError:
        assert not 1 <= exact * 10**asset.exponent < LARGEST_AMOUNT + 1
    else:
        assert 0 <= exact - Fraction(received.minor, 10**asset.exponent) < Fraction(1, 10**asset.exponent)


NOT_CONVERTED: list[tuple[str, str, Amount, Asset, str, type[LedgerError]]] = [
    ("more than there is", "payable:alice", Amount(101, EUR), DOLLAR, "1", AccountLimitError),
    ("into itself", "payable:alice", Amount(1, EUR), EUR, "1", AmountError),
    ("into nothing", "payable:alice", Amount(1, EUR), JPY, "0.5", AmountError),
    ("beyond any amount", "payable:alice", Amount(100, EUR), WEI, "9" * 60, AmountError),
    ("at no rate", "payable:alice", Amount(1, EUR), DOLLAR, "0.000", AmountError),
    ("at a rate below zero", "payable:alice", Amount(1, EUR), DOLLAR, "-1", AmountError),
    ("at a rate that is none", "payable:alice", Amount(1, EUR), DOLLAR, "1/3", AmountError),
    ("at a float", "payable:alice", Amount(1, EUR), DOLLAR, "1e3", AmountError),
    ("what is converted", "conversion", Amount(1, EUR), DOLLAR, "1", AccountError),
    ("what is held", "holdback:alice", Amount(1, EUR), DOLLAR, "1", HeldAccountError),
    ("an asset of other decimals", "payable:alice", Amount(1, Asset("TOK", 6)), DOLLAR, "99999", AssetError),
]


@pytest.mark.parametrize(
    ("name", "amount", "asset", "rate", "error"),
    [case[1:] for case in NOT_CONVERTED],
    ids=[case[0] for case in NOT_CONVERTED],
)
def test_what_cannot_be_converted_is_refused(
    staffed: Ledger, name: str, amount: Amount, asset: Asset, rate: str, error: type[LedgerError]
) -> None:
    with staffed.writing() as session:
        pay_in(session)
        registry.use_asset(session, Asset("TOK", 18))
        with pytest.raises(error):
            bookkeeping.convert(session, name, amount, asset, rate, key="c")
        assert held(session, "payable:alice") == [100]


def test_a_conversion_asked_for_again_is_the_first_and_at_another_rate_a_conflict(staffed: Ledger) -> None:
    with staffed.writing() as session:
        pay_in(session)
        first = bookkeeping.convert(session, "payable:alice", Amount(100, EUR), DOLLAR, "1.10", key="c")
        again = bookkeeping.convert(session, "payable:alice", Amount(100, EUR), DOLLAR, "1.10", key="c")
        assert (again.repeated, again.entry.sequence) == (True, first.entry.sequence)
        with pytest.raises(IdempotencyConflictError):
            bookkeeping.convert(session, "payable:alice", Amount(100, EUR), DOLLAR, "1.1", key="c")


# Paying out


@pytest.mark.parametrize("name", REMITTED)
def test_tax_fee_and_surplus_are_paid_out(staffed: Ledger, name: str) -> None:
    with staffed.writing() as session:
        pay_in(session, name)
        before = held(session, REMITTED[name])[0]
        posted = bookkeeping.remit(session, name, Amount(30, EUR), key="r", reference="TAX-2026-03")
        assert held(session, name) == [70]
        assert held(session, REMITTED[name]) == [before - 30]
        assert posted.entry.kind == "remittance"
        with pytest.raises(AccountError, match="not paid out by hand"):
            bookkeeping.remit(session, "escrow", Amount(1, EUR), key="s")
        with pytest.raises(AmountError):
            bookkeeping.remit(session, name, Amount(0, EUR), key="s")
        assert audit(session).ok


@pytest.mark.parametrize("name", ["withheld", "surplus"])
def test_no_more_tax_or_surplus_is_paid_out_than_there_is(staffed: Ledger, name: str) -> None:
    with staffed.writing() as session:
        pay_in(session, name)
        with pytest.raises(AccountLimitError):
            bookkeeping.remit(session, name, Amount(101, EUR), key="r")
