import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import Session, select

from ledger import balances, bookkeeping, journal, periods, registry
from ledger.balances import Moment
from ledger.canonical import GENESIS
from ledger.database import Ledger
from ledger.errors import (
    AccountError,
    AccountLimitError,
    AccountShutError,
    AmountError,
    AssetError,
    EntryTextError,
    FutureEventError,
    HeldAccountError,
    IdempotencyConflictError,
    LedgerError,
    ReversalError,
    UnbalancedEntryError,
    UnknownContributorError,
    UnknownEntryError,
)
from ledger.lines import Line, credit, debit
from ledger.models import Account, Entry, Posting
from ledger.money import LARGEST_AMOUNT, Asset

AMOUNTS = st.integers(1, LARGEST_AMOUNT)
ON_EACH_DATABASE = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def move(session: Session, amount: int = 100, key: str = "move", **more: Any) -> journal.Posted:
    registry.use_asset(session, Asset("EUR", 2))
    lines = [debit("buyer", "EUR", amount), credit("escrow", "EUR", amount)]
    said: dict[str, Any] = {"kind": "test", "subject": "x", "payload": {"why": "a test"}, "lines": lines}
    return journal.post(session, key=key, **said | more)


def everything(session: Session) -> list[Any]:
    return [journal.head(session), *session.exec(select(Entry.sequence)), *balances.totals(session)]


# Balance


REFUSED_LINES: list[tuple[str, list[Line], type[LedgerError]]] = [
    ("debits are not credits", [debit("buyer", "EUR", 5), credit("escrow", "EUR", 4)], UnbalancedEntryError),
    ("two commodities", [debit("buyer", "EUR", 5), credit("escrow", "JPY", 5)], UnbalancedEntryError),
    ("one line", [debit("buyer", "EUR", 5)], UnbalancedEntryError),
    (
        "beyond what an amount may be",
        [debit("buyer", "EUR", LARGEST_AMOUNT), debit("buyer", "EUR", 1), credit("escrow", "EUR", LARGEST_AMOUNT + 1)],
        AmountError,
    ),
    ("a float", [debit("buyer", "EUR", 5.0), credit("escrow", "EUR", 5.0)], AmountError),  # type: ignore[arg-type]
    ("below the floor", [debit("escrow", "EUR", 1), credit("buyer", "EUR", 1)], AccountLimitError),
    ("no such kind of account", [debit("purse", "EUR", 1), credit("escrow", "EUR", 1)], AccountError),
    ("nobody's payable", [debit("buyer", "EUR", 1), credit("payable", "EUR", 1)], AccountError),
    ("a stranger", [debit("buyer", "EUR", 1), credit("payable:zoe", "EUR", 1)], UnknownContributorError),
    ("a commodity that there is not", [debit("buyer", "GOLD", 1), credit("escrow", "GOLD", 1)], AssetError),
    ("held without a hold", [debit("buyer", "EUR", 1), credit("house_disputed", "EUR", 1)], HeldAccountError),
]


@pytest.mark.parametrize(
    ("lines", "error"), [case[1:] for case in REFUSED_LINES], ids=[case[0] for case in REFUSED_LINES]
)
def test_what_may_not_be_posted_is_refused_and_leaves_nothing_behind(
    books: Ledger, lines: list[Line], error: type[LedgerError]
) -> None:
    with books.writing() as session:
        registry.use_asset(session, Asset("EUR", 2))
        registry.use_asset(session, Asset("JPY", 0))
        before = everything(session)
        with pytest.raises(error):
            journal.post(session, kind="test", subject="x", key="k", payload={}, lines=lines)
        assert everything(session) == before
        assert session.exec(select(Account)).all() == []
        move(session)  # whoever catches the refusal can go on
    with books.reading() as session:
        assert balances.balances(session, "escrow") == {"EUR": 100}


def test_a_refusal_late_in_an_entry_undoes_what_was_written_of_it(books: Ledger) -> None:
    with books.writing() as session:
        registry.use_asset(session, Asset("EUR", 2))
        for number in range(450):  # more than one batch of accounts
            registry.add_contributor(session, f"c{number}")
        lines = [credit(f"payable:c{number}", "EUR", 1) for number in range(450)]
        before = everything(session)
        with pytest.raises(AccountLimitError):
            journal.post(
                session,
                kind="test",
                subject="x",
                key="k",
                payload={},
                lines=[*lines, debit("escrow", "EUR", 450)],
            )
        assert everything(session) == before
        assert session.exec(select(Posting)).first() is None


@ON_EACH_DATABASE
@given(st.lists(AMOUNTS, min_size=1, max_size=4))
def test_sums_are_exact_beyond_two_to_the_256(books: Ledger, amounts: list[int]) -> None:
    with books.writing() as session:
        before = balances.balance(session, "escrow", "EUR")
        for amount in amounts:
            posted = move(session, amount, key=f"key {journal.head(session)}")
        stored = session.exec(
            select(Posting.amount, Posting.balance).where(Posting.entry == posted.entry.sequence)
        ).all()
        for held in (
            balances.balance(session, "escrow", "EUR"),
            balances.balance(session, "escrow", "EUR", Moment(event_at=posted.entry.event_at)),
            balances.balance(session, "buyer", "EUR", Moment(recorded_at=posted.entry.recorded_at)),
            *(total.balance for total in balances.totals(session)),
        ):
            assert (held, type(held)) == (before + sum(amounts), int)
        assert stored == [(amounts[-1], before + sum(amounts))] * 2


def test_lines_of_one_account_are_merged_and_lines_of_nothing_left_out(books: Ledger) -> None:
    with books.writing() as session:
        entry = move(
            session,
            lines=[
                debit("buyer", "EUR", 7),
                credit("escrow", "EUR", 3),
                credit("fee", "EUR", 0),
                credit("house", "EUR", 5),
                debit("house", "EUR", 5),
                credit("escrow", "EUR", 4),
            ],
        ).entry
        assert journal.lines_of(session, entry.sequence) == [debit("buyer", "EUR", 7), credit("escrow", "EUR", 7)]


def test_a_negative_amount_goes_to_the_other_side() -> None:
    assert debit("house", "EUR", -5) == Line("house", "EUR", "credit", 5)
    assert credit("house", "EUR", -5) == Line("house", "EUR", "debit", 5)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        *((field, " \t") for field in ("kind", "subject", "key", "reason", "reference")),
        *((field, "a\x00b") for field in ("kind", "subject", "key", "reason", "reference")),
        *((field, "a\udcffb") for field in ("kind", "subject", "key", "reason", "reference")),
        *((field, "x" * 2001) for field in ("kind", "subject", "key", "reference")),
        ("reference", "é" * 1001),
    ],
)
def test_a_text_that_cannot_be_stored_or_found_is_refused_by_name(books: Ledger, field: str, text: str) -> None:
    with books.writing() as session:
        before = everything(session)
        with pytest.raises(EntryTextError, match=f"^{field} "):
            journal.post(session, **{"kind": "test", "subject": "x", "key": "k", "payload": {}} | {field: text})
        assert everything(session) == before


def test_texts_of_any_script_and_the_longest_key_are_kept(books: Ledger) -> None:
    with books.writing() as session:
        entry = move(session, key="k" * 2000, reason="Überweisung\n第二次 💶", reference="Ω-1").entry.sequence
    with books.reading() as session:
        found = journal.entry(session, entry)
        assert (found.key, found.reason, found.reference) == ("k" * 2000, "Überweisung\n第二次 💶", "Ω-1")


# Idempotency


def test_the_same_request_again_returns_the_first_entry(books: Ledger) -> None:
    with books.writing() as session:
        first = move(session, parts=[], event_at="2026-03-01", reason="why", reference="INV-1")
        assert not first.repeated
    with books.writing() as session:
        # The same, said in other words.
        lines = [credit("escrow", "EUR", 60), debit("buyer", "EUR", 100), credit("escrow", "EUR", 40)]
        same = [lines[1], lines[0], lines[2]]
        at = datetime(2026, 3, 1, 1, tzinfo=UTC).replace(hour=0)
        again = move(session, lines=same, event_at=at, reason="why", reference="INV-1")
        assert balances.balances(session, "buyer") == {"EUR": 100}
    assert (again.repeated, again.entry.sequence) == (True, first.entry.sequence)


OTHER_CONTENT: dict[str, Any] = {
    "kind": "another",
    "subject": "y",
    "payload": {"why": "another"},
    "lines": [debit("buyer", "EUR", 101), credit("escrow", "EUR", 101)],
    "event_at": "2026-02-28",
    "reason": "another",
    "reference": "INV-2",
    "parts": [("alice", {"paid": "1"})],
}


@pytest.mark.parametrize("what", OTHER_CONTENT)
def test_the_same_key_for_other_content_is_a_conflict(staffed: Ledger, what: str) -> None:
    with staffed.writing() as session:
        first = move(session, event_at="2026-03-01", reason="why", reference="INV-1").entry.sequence
    with pytest.raises(IdempotencyConflictError, match="'move'") as caught, staffed.writing() as session:
        move(session, **{"event_at": "2026-03-01", "reason": "why", "reference": "INV-1"} | {what: OTHER_CONTENT[what]})
    assert caught.value.sequence == first


def _freeze(session: Session) -> None:
    bookkeeping.freeze(session, "escrow", "EUR", "looked into")


def _close(session: Session) -> None:
    bookkeeping.close(session, "escrow", "EUR", "house", "not used")


def _close_period(session: Session) -> None:
    periods.close_period(session, "2026-03-01")


def _spend(session: Session) -> None:
    move(session, key="spent", lines=[debit("escrow", "EUR", 100), credit("house", "EUR", 100)])


def _reverse(session: Session) -> None:
    found = journal.by_key(session, "move")
    assert found is not None
    journal.reverse(session, found.sequence, "typed twice")


@pytest.mark.parametrize("happened", [_freeze, _close, _close_period, _spend, _reverse])
def test_a_request_repeated_returns_the_first_entry_whatever_has_happened_since(
    books: Ledger, happened: Callable[[Session], None]
) -> None:
    with books.writing() as session:
        first = move(session, event_at="2026-03-01").entry.sequence
        happened(session)
        before = everything(session)
        again = move(session, event_at="2026-03-01")
        assert (again.repeated, again.entry.sequence) == (True, first)
        assert everything(session) == before


# Hashes


def test_each_entry_covers_the_hash_of_the_one_before(books: Ledger) -> None:
    with books.writing() as session:
        for number in range(3):
            move(session, key=str(number))
    with books.reading() as session:
        entries = session.exec(select(Entry).order_by(Entry.sequence)).all()  # type: ignore[arg-type]
        assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1))
        assert [entry.previous for entry in entries] == [GENESIS, *[entry.hash for entry in entries[:-1]]]
        assert journal.head(session) == (len(entries), entries[-1].hash)


def test_the_stored_hashes_are_those_of_the_documented_bytes(staffed: Ledger) -> None:
    """By nothing but this interpreter's JSON and SHA-256: what another program needs to do."""
    lines = [debit("buyer", "EUR", LARGEST_AMOUNT), credit("escrow", "EUR", LARGEST_AMOUNT)]
    parts = [("alice", {"paid": "1"}), ("bob", {"paid": "2"}), ("carol", {"paid": "3"})]
    with staffed.writing() as session:
        entry = move(session, lines=lines, parts=parts, event_at="2026-03-01", reason="why", reference="INV-1").entry

    def told(value: Any) -> bytes:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    def sha256(data: bytes) -> bytes:
        return hashlib.sha256(data).digest()

    posting = [
        sha256(b"\x00" + told({"account": a, "amount": str(LARGEST_AMOUNT), "commodity": "EUR", "side": side}))
        for a, side in (("buyer", "debit"), ("escrow", "credit"))
    ]
    part = [sha256(b"\x00" + told({"contributor": who, "payload": told(said).decode()})) for who, said in parts]
    content = {
        "kind": "test",
        "subject": "x",
        "stated_at": "2026-03-01T00:00:00.000000Z",
        "reason": "why",
        "reference": "INV-1",
        "reverses": None,
        "payload": sha256(told({"why": "a test"})).hex(),
        "parts": sha256(b"\x01" + sha256(b"\x01" + part[0] + part[1]) + part[2]).hex(),
        "postings": sha256(b"\x01" + posting[0] + posting[1]).hex(),
    }
    assert entry.content == sha256(told(content)).hex()
    leaf = {
        name: getattr(entry, name) for name in ("sequence", "recorded_at", "event_at", "key", "content", "previous")
    }
    assert entry.hash == sha256(b"\x00" + told(leaf)).hex()


# Time


def test_what_has_not_happened_yet_is_not_booked(books: Ledger) -> None:
    with books.writing() as session, pytest.raises(FutureEventError):
        move(session, event_at="2026-03-03")


def test_entries_are_recorded_in_order_though_the_clock_goes_back(books: Ledger) -> None:
    with books.writing() as session:
        first = move(session, key="first").entry
        session.info["clock"] = lambda: datetime(2020, 1, 1, tzinfo=UTC)
        second = move(session, key="second").entry
    assert second.recorded_at == second.event_at == first.recorded_at


# Reversal


def test_a_reversal_takes_everything_back_once(books: Ledger) -> None:
    with books.writing() as session:
        sequence = move(session).entry.sequence
        reversal = journal.reverse(session, sequence, "typed twice")
        assert balances.balances(session, "buyer") == {"EUR": 0}
        assert journal.lines_of(session, reversal.entry.sequence) == [
            credit("buyer", "EUR", 100),
            debit("escrow", "EUR", 100),
        ]
        again = journal.reverse(session, sequence, "typed twice")
        assert (again.repeated, again.entry.sequence) == (True, reversal.entry.sequence)
        with pytest.raises(ReversalError, match="reversed it"):
            journal.reverse(session, sequence, "another reason")
        with pytest.raises(ReversalError, match="is a reversal entry"):
            journal.reverse(session, reversal.entry.sequence, "no")


def test_a_reversal_needs_a_reason(books: Ledger) -> None:
    with books.writing() as session:
        sequence = move(session).entry.sequence
        with pytest.raises(EntryTextError, match="reason"):
            journal.reverse(session, sequence, "  ")


def test_what_moved_nothing_or_is_not_there_cannot_be_reversed(books: Ledger) -> None:
    with books.writing() as session:
        nothing = move(session, lines=[debit("fee", "EUR", 0)]).entry.sequence
        opening = bookkeeping.open_account(session, "escrow", "EUR", floor=None, reason="credit").entry
        for sequence, why in ((1, "setting"), (nothing, "moved nothing"), (opening, "moved nothing")):
            with pytest.raises(ReversalError, match=why):
                journal.reverse(session, sequence, "no")
        with pytest.raises(UnknownEntryError):
            journal.reverse(session, 999, "no")


def test_what_was_given_and_spent_cannot_be_taken_back(books: Ledger) -> None:
    with books.writing() as session:
        sequence = move(session).entry.sequence
        _spend(session)
        with pytest.raises(AccountLimitError, match="escrow"):
            journal.reverse(session, sequence, "wrong")


def test_a_frozen_or_closed_account_takes_no_posting(books: Ledger) -> None:
    with books.writing() as session:
        move(session)
        for shut, state in ((_freeze, "frozen"), (_close, "closed")):
            shut(session)
            with pytest.raises(AccountShutError, match=state):
                move(session, key="another")
            if state == "frozen":
                bookkeeping.free(session, "escrow", "EUR", "found nothing")


# Reading


def test_parts_are_read_in_their_order_or_of_one_contributor(staffed: Ledger) -> None:
    parts = [(name, {"n": str(place)}) for place, name in enumerate(["carol", "alice", "bob", "alice"])]
    with staffed.writing() as session:
        entry = move(session, parts=iter(parts)).entry.sequence
    with staffed.reading() as session:
        found = [(part.contributor, json.loads(part.payload)) for part in journal.parts_of(session, entry)]
        assert found == parts
        assert [part.number for part in journal.parts_of(session, entry, "alice")] == [2, 4]


def test_last_balances_ahead_of_an_entry_are_what_they_were_then(books: Ledger) -> None:
    keys = [("buyer", "EUR"), ("escrow", "EUR"), ("fee", "EUR")]
    with books.writing() as session:
        entries = [move(session, 10, key=str(number)).entry.sequence for number in range(3)]
        for number, entry in enumerate(entries):
            held = journal.last_balances(session, keys, before=entry)
            assert held == ({("buyer", "EUR"): 10 * number, ("escrow", "EUR"): 10 * number} if number else {})
        assert journal.last_balances(session, keys) == {("buyer", "EUR"): 30, ("escrow", "EUR"): 30}
