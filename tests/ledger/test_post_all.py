"""Many entries in one transaction are the entries that they would have been one by one."""

import contextlib
from collections.abc import Iterable
from itertools import pairwise

import pytest
from sqlalchemy.exc import InvalidRequestError
from sqlmodel import Session, col, select

from ledger import balances, bookkeeping, journal, periods, registry
from ledger.audit import audit
from ledger.bulk import FEW, ROWS
from ledger.database import Ledger
from ledger.errors import AccountLimitError, AccountShutError, IdempotencyConflictError, LedgerError
from ledger.lines import Line, credit, debit
from ledger.models import Account, Entry, Part, Posting
from ledger.money import Asset
from ledger.requests import Asked

EUR = Asset("EUR", 2)
PEOPLE = [f"person-{number}" for number in range(FEW + 5)]


def asked(number: int, lines: Iterable[Line] | None = None) -> Asked:
    """One pool pays person after person."""
    who = PEOPLE[number % len(PEOPLE)]
    paid = [debit("buyer", "EUR", 100 + number), credit(f"payable:{who}", "EUR", 100 + number)]
    return Asked(
        kind="test",
        subject=who,
        key=f"payment {number}",
        payload={"number": number},
        parts=[(who, {"paid": str(100 + number)})],
        lines=paid if lines is None else lines,
        event_at="2026-03-01" if number % 3 else None,
        reference=f"reference {number}",
    )


@pytest.fixture
def open_books(books: Ledger) -> Ledger:
    with books.writing() as session:
        registry.use_asset(session, EUR)
        for name in PEOPLE:
            registry.add_contributor(session, name)
        periods.close_period(session, "2026-02-27")
    return books


def written(session: Session) -> list[object]:
    """What entries say, without when and what that makes of their hashes."""
    entries = session.exec(select(Entry).order_by(col(Entry.sequence)))
    accounts = session.exec(select(Account).order_by(col(Account.name), col(Account.commodity)))
    postings = session.exec(select(Posting).order_by(col(Posting.entry), col(Posting.line)))
    parts = session.exec(select(Part).order_by(col(Part.entry), col(Part.number)))
    return [
        [(row.sequence, row.key, row.content, row.event_at <= row.recorded_at, row.reference) for row in entries],
        *([row.model_dump() for row in rows] for rows in (accounts, postings, parts)),
    ]


def test_many_at_once_are_those_posted_one_by_one(open_books: Ledger) -> None:
    requests = [asked(number) for number in range(60)]
    with open_books.writing() as session:
        before = journal.head(session)[0]
        try:
            with session.begin_nested() as first_try:
                for request in requests:
                    journal.post(session, **request.__dict__)
                one_by_one = written(session)
                first_try.rollback()
        finally:
            session.expire_all()
        assert journal.head(session)[0] == before
        assert journal.post_all(session, iter(requests)) == [before + 1 + place for place in range(60)]
        assert written(session) == one_by_one
    with open_books.reading() as session:
        assert audit(session).ok
        entries = session.exec(select(Entry).order_by(col(Entry.sequence))).all()
        assert all(one.hash == next.previous for one, next in pairwise(entries))


def test_a_request_that_was_made_before_gives_its_first_entry(open_books: Ledger) -> None:
    with open_books.writing() as session:
        first = journal.post_all(session, [asked(1), asked(2), asked(1)])
        assert first[0] == first[2] == first[1] - 1
        assert journal.post_all(session, [asked(2), asked(3), asked(1)]) == [first[1], first[1] + 1, first[0]]
        assert balances.balance(session, "buyer", "EUR") == 101 + 102 + 103


REFUSED = [
    ([asked(1), asked(2, [])], IdempotencyConflictError),
    ([asked(3), asked(4, [debit("payable:person-0", "EUR", 1), credit("buyer", "EUR", 1)])], AccountLimitError),
    # More than there is, only because of what an earlier one of the same requests took.
    (
        [
            asked(5, [debit("payable:person-2", "EUR", 60), credit("buyer", "EUR", 60)]),
            asked(6, [debit("payable:person-2", "EUR", 60), credit("buyer", "EUR", 60)]),
        ],
        AccountLimitError,
    ),
    ([asked(7), asked(9 + len(PEOPLE))], AccountShutError),
]


@pytest.mark.parametrize(("requests", "error"), REFUSED, ids=["conflict", "floor", "floor together", "frozen"])
def test_one_refusal_undoes_the_transaction(
    open_books: Ledger, requests: list[Asked], error: type[LedgerError]
) -> None:
    with open_books.writing() as session:
        journal.post_all(session, [asked(2), asked(9)])
        bookkeeping.freeze(session, "payable:person-9", "EUR", "a test")
    with open_books.reading() as session:
        before = written(session)

    def refused_after_another(session: Session) -> None:
        journal.post_all(session, [asked(12)])
        journal.post_all(session, requests)

    def refused_and_gone_on(session: Session) -> None:
        with contextlib.suppress(error):
            journal.post_all(session, requests)
        journal.post_all(session, [asked(12)])  # there is no transaction any more that this could belong to

    for work, raised in ((refused_after_another, error), (refused_and_gone_on, InvalidRequestError)):
        with pytest.raises(raised):
            open_books.transact(work)
        with open_books.reading() as session:
            assert written(session) == before


def test_an_entry_of_more_lines_and_parts_than_are_held_in_memory_is_whole(open_books: Ledger) -> None:
    count = 2 * ROWS + 1
    lines = [line for number in range(count) for line in asked(number).lines]
    parts = [(PEOPLE[number % len(PEOPLE)], {"number": number}) for number in range(count)]
    with open_books.writing() as session:
        posted = journal.post(session, kind="test", subject="x", key="large", payload={}, parts=parts, lines=lines)
        assert len(journal.lines_of(session, posted.entry.sequence)) == 1 + len(PEOPLE)
        assert sum(1 for _ in journal.part_texts(session, posted.entry.sequence)) == count
    with open_books.reading() as session:
        assert audit(session).ok
