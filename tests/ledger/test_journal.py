import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import Session, select

from ledger import balances, journal, registry
from ledger.database import Ledger
from ledger.errors import IdempotencyConflictError, ReversalError, UnbalancedEntryError, UnknownEntryError
from ledger.lines import Line, credit, debit
from ledger.models import Entry
from ledger.money import Asset

AMOUNTS = st.integers(1, 2**256 - 1)


class _UndoneError(Exception):
    """Leaves the books as they were."""


def move(session: Session, amount: int = 100, key: str = "move") -> journal.Posted:
    registry.use_asset(session, Asset("EUR", 2))
    lines = [debit("buyer", "EUR", amount), credit("escrow", "EUR", amount)]
    return journal.post(session, kind="test", subject="x", key=key, payload={"why": "a test"}, lines=lines)


def test_an_entry_that_does_not_balance_is_refused(books: Ledger) -> None:
    lines = [debit("buyer", "EUR", 5), credit("escrow", "EUR", 4)]
    with books.writing() as session, pytest.raises(UnbalancedEntryError, match="debit 5, credit 4"):
        journal.post(session, kind="test", subject="x", key="k", payload={}, lines=lines)


def test_each_commodity_balances_by_itself(books: Ledger) -> None:
    lines = [debit("buyer", "EUR", 5), credit("escrow", "USD", 5)]
    with books.writing() as session, pytest.raises(UnbalancedEntryError):
        journal.post(session, kind="test", subject="x", key="k", payload={}, lines=lines)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(AMOUNTS, min_size=1, max_size=4))
def test_balances_are_exact_to_two_to_the_256(books: Ledger, amounts: list[int]) -> None:
    with pytest.raises(_UndoneError), books.writing() as session:
        for number, amount in enumerate(amounts):
            move(session, amount, key=str(number))
        assert balances.balances(session, "buyer") == {"EUR": sum(amounts)}
        assert balances.balances(session, "escrow") == {"EUR": sum(amounts)}
        raise _UndoneError


def test_a_negative_amount_goes_to_the_other_side() -> None:
    assert debit("house", "EUR", -5) == Line("house", "EUR", "credit", 5)
    assert credit("house", "EUR", -5) == Line("house", "EUR", "debit", 5)


def test_the_same_request_again_returns_the_first_entry(books: Ledger) -> None:
    with books.writing() as session:
        first = move(session)
    with books.writing() as session:
        again = move(session)
        assert balances.balances(session, "buyer") == {"EUR": 100}
    assert (again.repeated, again.entry.sequence) == (True, first.entry.sequence)


def test_the_same_key_for_other_content_is_a_conflict(books: Ledger) -> None:
    with books.writing() as session:
        move(session, 100)
    with pytest.raises(IdempotencyConflictError, match="'move'"), books.writing() as session:
        move(session, 101)


def test_each_entry_covers_the_hash_of_the_one_before(books: Ledger) -> None:
    with books.writing() as session:
        for number in range(3):
            move(session, key=str(number))
    with books.reading() as session:
        entries = session.exec(select(Entry).order_by(Entry.sequence)).all()  # type: ignore[arg-type]
        assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1))
        assert [entry.previous for entry in entries] == [journal.GENESIS, *[entry.hash for entry in entries[:-1]]]
        assert journal.head(session) == (len(entries), entries[-1].hash)
        for entry in entries:
            lines = journal.lines_of(session, entry.sequence)
            content = journal.content_hash(entry.kind, entry.subject, entry.payload, lines, entry.reverses)
            assert content == entry.content


def test_the_hashes_are_those_of_the_documented_bytes() -> None:
    lines = [debit("buyer", "EUR", 2**200), credit("escrow", "EUR", 2**200)]
    assert (
        journal.content_hash("funding", "r", '{"a":1}', lines, None)
        == "e831b0c3d2e798e7e73008f5168180bac77cfc685b9542c8e00e45ea90244e6a"
    )
    assert (
        journal.entry_hash(1, "t", "k", "c", "p") == "a209d9bac8e090be5350b1bd2c3af3b6950e21b597be8760d8118dec07344dcc"
    )


def test_a_reversal_takes_everything_back_once(books: Ledger) -> None:
    with books.writing() as session:
        sequence = move(session).entry.sequence
        reversal = journal.reverse(session, sequence, "typed twice")
        assert balances.balances(session, "buyer") == {"EUR": 0}
        assert journal.reverse(session, sequence, "typed twice").entry.sequence == reversal.entry.sequence
        with pytest.raises(ReversalError, match="reversed it"):
            journal.reverse(session, sequence, "another reason")
        with pytest.raises(ReversalError, match="is a reversal entry"):
            journal.reverse(session, reversal.entry.sequence, "no")


def test_what_moved_nothing_or_is_not_there_cannot_be_reversed(books: Ledger) -> None:
    with books.writing() as session:
        with pytest.raises(ReversalError, match="setting"):
            journal.reverse(session, 1, "no")
        with pytest.raises(UnknownEntryError):
            journal.reverse(session, 999, "no")
