"""A writer that keeps no rule, where no trigger is in its way: its hashes are right, and the audit finds it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlmodel import Session, select

from ledger import accounts, bookkeeping, holds, journal, requests
from ledger.holds import Change, NewHold
from ledger.lines import credit, debit
from ledger.models import Entry, Hold
from ledger.money import LARGEST_AMOUNT, Amount, Asset
from ledger.writer import Writer
from tests.ledger.everything import clock
from tests.ledger.tampering import Original, faults, named


def entry(session: Session, *amounts: tuple[str, int], **more: Any) -> journal.Posted:
    """An entry in euro cents: debits are positive."""
    said: dict[str, Any] = {"kind": "test", "subject": "x", "key": "test", "payload": {}}
    return journal.post(session, lines=[debit(name, "EUR", amount) for name, amount in amounts], **said | more)


def _without_balance(session: Session, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(requests, "_check_lines", lambda *_: None)
    entry(session, ("buyer", 5), ("house", -4))


def _without_bounds(session: Session, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(requests, "_check_lines", lambda *_: None)
    entry(session, ("buyer", LARGEST_AMOUNT + 1), ("house", -LARGEST_AMOUNT - 1))


def _positions(patch: pytest.MonkeyPatch, **seen: Any) -> None:
    true = accounts.positions

    def false(*given: Any, **more: Any) -> Any:
        return {key: position._replace(**seen) for key, position in true(*given, **more).items()}

    patch.setattr(accounts, "positions", false)


def _below_the_floor(session: Session, patch: pytest.MonkeyPatch) -> None:
    _positions(patch, floor=None)
    entry(session, ("escrow", 5), ("house", -5))


def _on_a_closed_account(session: Session, patch: pytest.MonkeyPatch) -> None:
    _positions(patch, state="open")
    lines = [debit("buyer", "USD", 5), credit("payable:alice", "USD", 5)]
    journal.post(session, kind="test", subject="x", key="test", payload={}, lines=lines)


def _from_holds_unsaid(session: Session, patch: pytest.MonkeyPatch) -> None:
    patch.setattr("ledger.pending.assert_stated", lambda *_: None)
    entry(session, ("disputed:bob", 5), ("payable:bob", -5))


def _a_hold_without_a_row(session: Session, patch: pytest.MonkeyPatch) -> None:
    hold = NewHold("payout", "in_flight:bob", "payable:bob", "paid:bob", "EUR", 3)
    entry(session, ("payable:bob", 3), ("in_flight:bob", -3), payload={"holds": [holds.stated(hold)]})


def _open(session: Session, purpose: str) -> Hold:
    return next(hold for hold, _ in holds.open_holds(session, purpose=purpose).values())


def _released_early(session: Session, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(holds, "_check", lambda *_: None)
    session.info["clock"] = clock("2026-07-01")
    step = Change(_open(session, "vesting").id, holds.POSTED)
    holds.change(session, [step], kind="release", subject="x", key="test")


def _sent_elsewhere_unsaid(session: Session, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        holds,
        "stated_change",
        lambda step, account, commodity, to: requests.pending.stated_change(step, account, commodity),
    )
    hold = _open(session, "dispute")
    to = {hold.id: [("payable:heir", hold.amount)]}
    holds.change(session, [Change(hold.id, holds.POSTED)], kind="release", subject="x", key="test", destinations=to)


def _more_than_is_left(session: Session, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(holds, "_check", lambda *_: None)
    _positions(patch, floor=None)
    hold = _open(session, "dispute")
    step = Change(hold.id, holds.VOIDED, hold.amount + 1)
    holds.change(session, [step], kind="release", subject="x", key="test")


def _a_reversal_of_half(session: Session, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(journal, "mirrored", lambda lines: [replace(line, amount=line.amount // 2) for line in lines])
    number = bookkeeping.remit(session, "fee", Amount(2, Asset("EUR", 2)), key="a").entry.sequence
    journal.reverse(session, number, "half")


def _a_reversal_of_a_reversal(session: Session, patch: pytest.MonkeyPatch) -> None:
    made = session.exec(select(Entry).where(Entry.kind == "reversal").order_by(Entry.sequence.desc())).first()  # type: ignore[attr-defined]
    assert made is not None
    lines = [
        replace(line, side="debit" if line.side == "credit" else "credit")
        for line in journal.lines_of(session, made.sequence)
    ]
    patch.setattr("ledger.pending.assert_stated", lambda *_: None)
    _positions(patch, floor=None)
    said: dict[str, Any] = {"kind": "reversal", "subject": "x", "key": "test", "payload": {}, "reason": "again"}
    journal.post(session, lines=lines, reverses=made.sequence, **said)


def _into_a_closed_period(session: Session, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Writer, "_event_at", lambda self, request, recorded_at: request.stated_at or recorded_at)
    entry(session, ("buyer", 5), ("house", -5), event_at="2026-05-05")


def _in_the_future(session: Session, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Writer, "_event_at", lambda self, request, recorded_at: request.stated_at or recorded_at)
    entry(session, ("buyer", 5), ("house", -5), event_at="2030-01-01")


def _on_the_wrong_side(session: Session, patch: pytest.MonkeyPatch) -> None:
    kind = accounts.KINDS["accrued"]
    patch.setattr(accounts, "KINDS", {**accounts.KINDS, "accrued": replace(kind, normal_side="debit")})
    entry(session, ("buyer", -5), ("accrued:heir", 5))


WRITERS: list[tuple[Callable[[Session, pytest.MonkeyPatch], None], str, str]] = [
    (_without_balance, "entry balances", "1 EUR more than its credits"),
    (_without_bounds, "entry balances", "is no amount"),
    (_below_the_floor, "account balances", "escrow holds -5 EUR, its floor is 0"),
    (_on_a_closed_account, "frozen and closed accounts", "payable:alice in USD"),
    (_from_holds_unsaid, "accounts of holds", "adds -5 EUR to disputed:bob, its holds there 0"),
    (_a_hold_without_a_row, "holds", " of 3, whose row is missing"),
    (_released_early, "courses of holds", "and it is kept until 2027-06-01"),
    (_sent_elsewhere_unsaid, "changes of holds", "payable:heir"),
    (_more_than_is_left, "courses of holds", "-1 of 100 are left"),
    (_a_reversal_of_half, "reversals", "not the mirror image"),
    (_a_reversal_of_a_reversal, "reversals", "of which there is no reversal"),
    (_into_a_closed_period, "closed periods", "came after it was closed"),
    (_into_a_closed_period, "times of entries", "is booked at 2026-05-05"),
    (_in_the_future, "times of entries", "says that it happened at 2030-01-01"),
    (_on_the_wrong_side, "accounts", "'accrued:heir' in EUR: normal_side is 'debit'"),
]


@pytest.mark.parametrize(("write", "check", "word"), WRITERS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_writer_that_keeps_no_rule_is_found_though_its_hashes_are_right(
    original: Original, write: Callable[..., None], check: str, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with original.session() as session:
        with original.tampering(session, "entries"), monkeypatch.context() as patch:
            write(session, patch)
            session.flush()
        found = faults(session)
        assert not any(fault.startswith(("hash chain", "entry content", "head", "entry sequence")) for fault in found)
        named(found, check, word)
