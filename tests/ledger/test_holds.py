import json
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlmodel import Session, select

from ledger import balances, bookkeeping, holds, journal, registry
from ledger.audit import audit
from ledger.database import Ledger
from ledger.errors import (
    AccountError,
    AccountLimitError,
    FutureEventError,
    HeldAccountError,
    HoldError,
    IdempotencyConflictError,
    ReversalError,
)
from ledger.holds import EXPIRED, POSTED, RESTORED, VOIDED, Change, NewHold
from ledger.lines import credit, debit
from ledger.models import Entry, Hold, HoldChange
from ledger.money import LARGEST_AMOUNT, Amount, Asset
from ledger.pending import stated_moves

RELEASE, EXPIRY = "2026-04-01T00:00:00.000000Z", "2026-05-01T00:00:00.000000Z"


def set_time(session: Session, text: str) -> None:
    session.info["clock"] = lambda: datetime.fromisoformat(text).replace(tzinfo=UTC)


def pay_in(session: Session, name: str = "alice", amount: int = 100) -> None:
    """Make an amount payable to somebody."""
    registry.use_asset(session, Asset("EUR", 2))
    lines = [debit("buyer", "EUR", amount), credit(f"payable:{name}", "EUR", amount)]
    key = f"pay in {journal.head(session)[0]}"
    journal.post(session, kind="test", subject=name, key=key, payload={}, lines=lines)


def new(name: str = "alice", amount: int = 40, **more: Any) -> NewHold:
    said = {
        "purpose": "holdback",
        "account": f"holdback:{name}",
        "origin": f"payable:{name}",
        "destination": "payable:bob",
        "commodity": "EUR",
        "amount": amount,
    }
    return NewHold(**said | more)


def step(session: Session, *changes: Change, key: str = "step", **more: Any) -> journal.Posted:
    return holds.change(session, changes, **{"kind": "release", "subject": "x", "key": key} | more)


def held(session: Session, *names: str) -> list[int]:
    return [balances.balance(session, name, "EUR") for name in names]


def everything_holds(session: Session) -> bool:
    found = audit(session)
    assert found.ok, [f"{check.name}: {check.detail}" for check in found.checks if not check.ok]
    return True


@pytest.fixture
def held_forty(staffed: Ledger) -> Ledger:
    """Alice has a hundred payable, of which forty are held for Bob until April, and come back in May."""
    with staffed.writing() as session:
        pay_in(session)
        made = holds.open_hold(session, new(release_at=RELEASE, expires_at=EXPIRY), key="hold")
        assert made.id == 1
    return staffed


def test_a_hold_takes_from_its_origin_and_lies_in_its_account(held_forty: Ledger) -> None:
    with held_forty.reading() as session:
        assert held(session, "payable:alice", "holdback:alice", "payable:bob") == [60, 40, 0]
        assert holds.remaining(session, [1]) == {1: 40}
        assert everything_holds(session)


REFUSED: list[tuple[str, dict[str, Any], type[Exception]]] = [
    ("for no known purpose", {"purpose": "fun"}, HoldError),
    ("in an account of another kind", {"account": "payable:bob"}, HoldError),
    ("from a debit account", {"origin": "buyer"}, HoldError),
    ("to a debit account", {"destination": "receivable:bob"}, HoldError),
    ("from an account of holds", {"origin": "vesting:alice"}, HoldError),
    ("to an account of holds", {"destination": "holdback:bob"}, HoldError),
    ("of nothing", {"amount": 0}, HoldError),
    ("of less than nothing", {"amount": -1}, HoldError),
    ("beyond what an amount may be", {"amount": LARGEST_AMOUNT + 1}, HoldError),
    ("that expires before it may be released", {"release_at": EXPIRY, "expires_at": RELEASE}, HoldError),
    ("that expires when it may be released", {"release_at": EXPIRY, "expires_at": EXPIRY}, HoldError),
    ("in an account that there is not", {"account": "drawer:alice"}, AccountError),
]


@pytest.mark.parametrize(("terms", "error"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_a_hold_that_makes_no_sense_is_refused_when_made(terms: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        new(**terms)


def test_no_more_is_held_than_there_is(staffed: Ledger) -> None:
    with staffed.writing() as session:
        pay_in(session)
        with pytest.raises(AccountLimitError, match="payable:alice"):
            holds.open_hold(session, new(amount=101), key="hold")
        assert session.exec(select(Hold)).all() == []


def test_the_same_hold_asked_for_again_is_the_first_though_the_money_is_gone(held_forty: Ledger) -> None:
    with held_forty.writing() as session:
        bookkeeping.freeze(session, "payable:alice", "EUR", "looked into")
        again = holds.open_hold(session, new(release_at=RELEASE, expires_at=EXPIRY), key="hold")
        assert again.id == 1
        assert len(session.exec(select(Hold)).all()) == 1
        with pytest.raises(IdempotencyConflictError):
            holds.open_hold(session, new(amount=41), key="hold")


def test_many_are_held_by_one_entry(staffed: Ledger) -> None:
    with staffed.writing() as session:
        pay_in(session, "alice")
        pay_in(session, "carol")
        wanted = [new("carol", 10), new("alice", 20), new("carol", 5)]
        posted = holds.hold_all(session, wanted, kind="epoch", subject="epoch 1", key="epoch 1")
        made = holds.made_by(session, posted.entry.sequence)
        assert [(hold.id, hold.account, hold.amount) for hold in made] == [
            (1, "holdback:carol", 10),
            (2, "holdback:alice", 20),
            (3, "holdback:carol", 5),
        ]
        assert held(session, "holdback:alice", "holdback:carol") == [20, 15]
        assert everything_holds(session)


# Changes


def test_a_hold_is_posted_in_part_and_the_rest_voided(held_forty: Ledger) -> None:
    with held_forty.writing() as session:
        set_time(session, "2026-04-01T00:00:00")
        step(session, Change(1, POSTED, 15))
        assert held(session, "payable:alice", "holdback:alice", "payable:bob") == [60, 25, 15]
        assert holds.remaining(session, [1]) == {1: 25}
        step(session, Change(1, VOIDED), key="rest")
        assert held(session, "payable:alice", "holdback:alice", "payable:bob") == [85, 0, 15]
        assert holds.open_holds(session) == {}
        assert everything_holds(session)


def test_what_is_posted_may_go_to_an_estate(held_forty: Ledger) -> None:
    with held_forty.writing() as session:
        set_time(session, "2026-04-01T00:00:00")
        step(session, Change(1, POSTED), destinations={1: [("payable:bob", 30), ("payable:carol", 10)]})
        assert held(session, "holdback:alice", "payable:bob", "payable:carol") == [0, 30, 10]
        assert everything_holds(session)


REFUSED_STEPS: list[tuple[str, str, list[Change], dict[str, Any], str]] = [
    ("more than is left", "2026-04-02", [Change(1, POSTED, 41)], {}, "41 is not between 1 and the 40"),
    ("nothing of it", "2026-04-02", [Change(1, VOIDED, 0)], {}, "0 is not between"),
    ("less than nothing", "2026-04-02", [Change(1, VOIDED, -5)], {}, "-5 is not between"),
    ("before its release", "2026-03-31T23:59:59", [Change(1, POSTED)], {}, "is kept until 2026-04-01"),
    ("backdated before it", "2026-04-02", [Change(1, POSTED)], {"event_at": "2026-03-31"}, "is kept until"),
    ("expired too early", "2026-04-30T23:59:59", [Change(1, EXPIRED)], {}, "has not expired"),
    ("restored by hand", "2026-04-02", [Change(1, RESTORED)], {}, "not 'restored'"),
    ("to parts of another sum", "2026-04-02", [Change(1, POSTED)], {"destinations": {1: [("payable:bob", 39)]}}, "sum"),
    (
        "to parts below zero",
        "2026-04-02",
        [Change(1, POSTED)],
        {"destinations": {1: [("payable:bob", 41), ("payable:carol", -1)]}},
        "above zero",
    ),
    (
        "back to elsewhere",
        "2026-04-02",
        [Change(1, VOIDED)],
        {"destinations": {1: [("payable:bob", 40)]}},
        "only where",
    ),
    ("twice in one request", "2026-04-02", [Change(1, VOIDED, 1), Change(1, VOIDED, 2)], {}, "more than once"),
    ("one that there is not", "2026-04-02", [Change(1, VOIDED), Change(2, VOIDED)], {}, "there is no such hold"),
]


@pytest.mark.parametrize(
    ("at", "changes", "more", "why"), [case[1:] for case in REFUSED_STEPS], ids=[case[0] for case in REFUSED_STEPS]
)
def test_a_hold_is_not_changed_in_another_way_than_agreed(
    held_forty: Ledger, at: str, changes: list[Change], more: dict[str, Any], why: str
) -> None:
    with held_forty.writing() as session:
        set_time(session, at)
        before = journal.head(session)
        with pytest.raises(HoldError, match=why):
            step(session, *changes, **more)
        assert (journal.head(session), holds.remaining(session, [1])) == (before, {1: 40})


def test_a_hold_is_never_sent_into_an_account_of_holds(held_forty: Ledger) -> None:
    with held_forty.writing() as session:
        set_time(session, "2026-04-02")
        with pytest.raises(HeldAccountError, match="vesting:bob"):
            step(session, Change(1, POSTED), destinations={1: [("vesting:bob", 40)]})


def test_nothing_but_holds_moves_an_account_of_holds(held_forty: Ledger) -> None:
    """Neither postings nor sweeps nor conversions, nor an entry that states another sum than it moves."""
    out = [debit("holdback:alice", "EUR", 1), credit("payable:alice", "EUR", 1)]
    with held_forty.writing() as session:
        for payload in ({}, {"holds": [holds.stated(new(amount=1))]}):
            with pytest.raises(HeldAccountError, match="holdback:alice"):
                journal.post(session, kind="test", subject="x", key="k", payload=payload, lines=out)
        with pytest.raises(HeldAccountError):
            journal.post(session, kind="test", subject="x", key="k", payload={"holds": [holds.stated(new())]}, lines=[])
        bookkeeping.open_account(session, "vesting:alice", "EUR", floor=-10, reason="x")
        with pytest.raises(HeldAccountError):
            bookkeeping.convert(session, "vesting:alice", Amount.parse("0.05 EUR"), Asset("JPY", 0), "160", key="c")
        bookkeeping.open_account(session, "payable:carol", "EUR", floor=None, reason="x")
        journal.post(
            session,
            kind="test",
            subject="x",
            key="carol",
            payload={},
            lines=[debit("buyer", "EUR", 1), credit("payable:carol", "EUR", 1)],
        )
        with pytest.raises(HeldAccountError):
            bookkeeping.close(session, "payable:carol", "EUR", "holdback:alice", "not needed")
        with pytest.raises(AccountError, match="hold 1"):
            bookkeeping.close(session, "holdback:alice", "EUR", "payable:alice", "not needed")
        assert everything_holds(session)


# Asking again


def test_a_change_asked_for_again_is_the_first_whatever_is_left(held_forty: Ledger) -> None:
    with held_forty.writing() as session:
        set_time(session, "2026-04-02")
        whole = step(session, Change(1, POSTED), reason="agreed")
        again = step(session, Change(1, POSTED), reason="agreed")
        exact = step(session, Change(1, POSTED, 40), reason="agreed")
        assert [(one.entry.sequence, one.repeated) for one in (again, exact)] == [(whole.entry.sequence, True)] * 2
        assert len(session.exec(select(HoldChange)).all()) == 1


OTHER_REQUESTS: list[tuple[str, list[Change], dict[str, Any]]] = [
    ("another amount", [Change(1, POSTED, 14)], {}),
    ("all of it", [Change(1, POSTED, 40)], {}),
    ("another change", [Change(1, VOIDED, 15)], {}),
    ("another kind", [Change(1, POSTED, 15)], {"kind": "confirmation"}),
    ("another subject", [Change(1, POSTED, 15)], {"subject": "y"}),
    ("another reason", [Change(1, POSTED, 15)], {"reason": "other"}),
    ("another time", [Change(1, POSTED, 15)], {"event_at": "2026-04-01"}),
    ("another destination", [Change(1, POSTED, 15)], {"destinations": {1: [("payable:carol", 15)]}}),
]


@pytest.mark.parametrize(
    ("changes", "more"), [case[1:] for case in OTHER_REQUESTS], ids=[case[0] for case in OTHER_REQUESTS]
)
def test_the_same_key_for_another_change_is_a_conflict(
    held_forty: Ledger, changes: list[Change], more: dict[str, Any]
) -> None:
    with held_forty.writing() as session:
        set_time(session, "2026-04-02")
        step(session, Change(1, POSTED, 15))
        with pytest.raises(IdempotencyConflictError):
            step(session, *changes, **more)
        assert holds.remaining(session, [1]) == {1: 25}


# Expiry


def test_all_that_is_over_goes_back_by_one_entry_and_once(staffed: Ledger) -> None:
    with staffed.writing() as session:
        for name in ("alice", "carol"):
            pay_in(session, name)
            holds.open_hold(session, new(name, expires_at=EXPIRY), key=name)
        holds.open_hold(session, new("carol", 7, expires_at="2026-06-01T00:00:00.000000Z"), key="later")
        holds.open_hold(session, new("alice", 7), key="never")
        set_time(session, "2026-04-30")
        assert holds.expire_due(session).entry is None
        set_time(session, "2026-05-01")
        done = holds.expire_due(session, reason="not claimed")
        assert [(hold.id, left) for hold, left in done.holds] == [(1, 40), (2, 40)]
        assert held(session, "payable:alice", "payable:carol", "holdback:alice", "holdback:carol") == [93, 93, 7, 7]
        assert (done.entry, holds.expire_due(session).entry) == (journal.head(session)[0], None)
        with pytest.raises(FutureEventError):
            holds.expire_due(session, "2026-06-02")
        assert everything_holds(session)


def test_a_frozen_account_keeps_its_hold_and_nobody_elses(staffed: Ledger) -> None:
    with staffed.writing() as session:
        for name in ("alice", "carol"):
            pay_in(session, name)
            holds.open_hold(session, new(name, expires_at=EXPIRY), key=name)
        bookkeeping.freeze(session, "payable:alice", "EUR", "looked into")
        set_time(session, "2026-05-02")
        done = holds.expire_due(session)
        assert [hold.id for hold, _ in done.holds] == [2]
        assert [(hold.id, why) for hold, why in done.kept] == [(1, "payable:alice is frozen")]


# Reversal


def test_reversing_the_entry_of_a_hold_voids_it(held_forty: Ledger) -> None:
    with held_forty.writing() as session:
        entry = holds.made_by(session, journal.head(session)[0])[0].entry
        reversal = holds.reverse(session, entry, "typed twice")
        assert held(session, "payable:alice", "holdback:alice") == [100, 0]
        assert holds.open_holds(session) == {}
        again = holds.reverse(session, entry, "typed twice")
        assert (again.repeated, again.entry.sequence) == (True, reversal.entry.sequence)
        with pytest.raises(ReversalError, match="reversed it"):
            holds.reverse(session, entry, "another reason")
        with pytest.raises(HoldError, match="left of it"):
            step(session, Change(1, VOIDED, 1))
        assert everything_holds(session)


@pytest.mark.parametrize("change", [POSTED, VOIDED, EXPIRED])
def test_reversing_a_change_restores_the_hold(held_forty: Ledger, change: str) -> None:
    with held_forty.writing() as session:
        set_time(session, "2026-05-02")
        first = step(session, Change(1, change, 15)).entry.sequence
        rest = step(session, Change(1, change), key="rest").entry.sequence
        holds.reverse(session, first, "wrong")
        assert holds.remaining(session, [1]) == {1: 15}
        assert [left for _, left in holds.open_holds(session).values()] == [15]
        holds.reverse(session, rest, "wrong")
        assert held(session, "payable:alice", "holdback:alice", "payable:bob") == [60, 40, 0]
        step(session, Change(1, VOIDED), key="again")
        assert everything_holds(session)


def test_a_hold_that_was_emptied_at_once_is_open_again_when_that_is_reversed(held_forty: Ledger) -> None:
    with held_forty.writing() as session:
        set_time(session, "2026-05-02")
        expired = holds.expire_due(session).entry
        assert expired is not None
        assert holds.open_holds(session) == {}
        holds.reverse(session, expired, "it had been claimed")
        assert [left for _, left in holds.open_holds(session).values()] == [40]
        again = holds.expire_due(session)
        assert [left for _, left in again.holds] == [40]
        assert everything_holds(session)


def test_a_hold_that_was_changed_is_not_reversed_under_what_changed_it(held_forty: Ledger) -> None:
    with held_forty.writing() as session:
        made = holds.made_by(session, journal.head(session)[0])[0].entry
        set_time(session, "2026-04-02")
        change = step(session, Change(1, POSTED, 15)).entry.sequence
        with pytest.raises(ReversalError, match="hold 1, which it made, was changed since"):
            holds.reverse(session, made, "wrong")
        holds.reverse(session, change, "wrong")
        holds.reverse(session, made, "wrong")
        assert held(session, "payable:alice", "holdback:alice", "payable:bob") == [100, 0, 0]
        assert everything_holds(session)


def test_the_journal_alone_reverses_nothing_that_touches_holds(held_forty: Ledger) -> None:
    with held_forty.writing() as session, pytest.raises(ReversalError, match="set aside"):
        journal.reverse(session, journal.head(session)[0], "wrong")


def test_a_change_whose_money_has_moved_on_is_not_reversed(held_forty: Ledger) -> None:
    with held_forty.writing() as session:
        set_time(session, "2026-04-02")
        change = step(session, Change(1, POSTED, 15)).entry.sequence
        spent = [debit("payable:bob", "EUR", 10), credit("paid:bob", "EUR", 10)]
        journal.post(session, kind="test", subject="bob", key="spent", payload={}, lines=spent)
        with pytest.raises(AccountLimitError, match="payable:bob"):
            holds.reverse(session, change, "wrong")
        assert holds.remaining(session, [1]) == {1: 25}


def test_what_was_left_ahead_of_an_entry_is_known(held_forty: Ledger) -> None:
    with held_forty.writing() as session:
        made = holds.made_by(session, journal.head(session)[0])[0]
        set_time(session, "2026-04-02")
        change = step(session, Change(1, POSTED, 15)).entry.sequence
        back = holds.reverse(session, change, "wrong").entry.sequence
        assert [holds.remaining(session, [1], before=n)[1] for n in (change, back, back + 1)] == [40, 25, 40]
        assert holds.left_of(session, made.entry, before=back) == [(made, 25)]


def test_what_an_entry_states_is_all_that_it_moves(held_forty: Ledger) -> None:
    with held_forty.writing() as session:
        set_time(session, "2026-04-02")
        change = step(session, Change(1, POSTED, 15)).entry.sequence
        back = holds.reverse(session, change, "wrong").entry.sequence
        moved = [
            {key: amount for key, _, amount in stated_moves(json.loads(session.get_one(Entry, n).payload))}
            for n in (1, change - 1, change, back)
        ]
        key = ("holdback:alice", "EUR")
        assert moved == [{}, {key: 40}, {key: -15}, {key: 15}]


def test_open_holds_are_found_by_purpose_account_and_ends(staffed: Ledger) -> None:
    with staffed.writing() as session:
        pay_in(session)
        holds.open_hold(session, new(amount=1), key="1")
        holds.open_hold(session, new(amount=2, purpose="vesting", account="vesting:alice"), key="2")
        holds.open_hold(
            session, new(amount=3, purpose="payout", account="in_flight:alice", destination="paid:alice"), key="3"
        )

        def numbers(**which: Any) -> list[int]:
            return list(holds.open_holds(session, **which))

        assert numbers() == [1, 2, 3]
        assert numbers(purpose="vesting") == [2]
        assert numbers(account="holdback:alice") == [1]
        assert numbers(touching=("payable:bob", "EUR")) == [1, 2]
        assert numbers(touching=("payable:alice", "EUR")) == [1, 2, 3]
        assert numbers(touching=("payable:alice", "USD")) == []
