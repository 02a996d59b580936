from datetime import UTC, datetime
from typing import Any

import pytest
from sqlmodel import Session

from ledger import balances, journal, periods, registry
from ledger.audit import audit
from ledger.balances import Moment
from ledger.database import Ledger
from ledger.errors import InstantError, PeriodError
from ledger.lines import credit, debit
from ledger.money import Asset

END_OF_MARCH = "2026-03-31T23:59:59.999999Z"


def set_time(session: Session, text: str) -> None:
    session.info["clock"] = lambda: datetime.fromisoformat(text).replace(tzinfo=UTC)


def move(session: Session, amount: int, at: str | None = None, **more: Any) -> journal.Posted:
    registry.use_asset(session, Asset("EUR", 2))
    lines = [debit("buyer", "EUR", amount), credit("fee", "EUR", amount)]
    key = f"move {amount}"
    said: dict[str, Any] = {"kind": "test", "subject": "x", "key": key, "payload": {}, "lines": lines, "event_at": at}
    return journal.post(session, **said | more)


@pytest.fixture
def march(books: Ledger) -> Ledger:
    """Books with one entry in March, looked at in April."""
    with books.writing() as session:
        set_time(session, "2026-04-05")
        move(session, 1, "2026-03-31T23:59:59.999999Z")
    return books


def test_a_date_closes_its_whole_day_and_no_more(march: Ledger) -> None:
    with march.writing() as session:
        set_time(session, "2026-04-06")
        period = periods.close_period(session, "2026-03-31")
        assert period.through == END_OF_MARCH
        assert move(session, 2, "2026-04-01").entry.event_at == "2026-04-01T00:00:00.000000Z"
        assert move(session, 3, "2026-03-31").entry.event_at == "2026-04-06T00:00:00.000000Z"


def test_what_comes_late_is_booked_forward_and_says_when_it_happened(march: Ledger) -> None:
    with march.writing() as session:
        set_time(session, "2026-04-06")
        before = balances.seal(session, Moment(event_at=END_OF_MARCH))
        period = periods.close_period(session, "2026-03-31")
        late = move(session, 2, "2026-03-10").entry
        assert (late.stated_at, late.event_at) == ("2026-03-10T00:00:00.000000Z", "2026-04-06T00:00:00.000000Z")
        assert balances.balance(session, "fee", "EUR", Moment.of("2026-03-31")) == 1
        assert balances.balance(session, "fee", "EUR", Moment.of("2026-04-06")) == 3
        assert period.trial_balance == before == balances.seal(session, Moment(event_at=END_OF_MARCH))
        assert audit(session).ok


def test_a_reversal_of_what_is_sealed_is_booked_forward(march: Ledger) -> None:
    with march.writing() as session:
        set_time(session, "2026-04-06")
        wrong = journal.head(session)[0]
        periods.close_period(session, "2026-03-31")
        entry = journal.reverse(session, wrong, "wrong", event_at="2026-03-31").entry
        assert entry.event_at == "2026-04-06T00:00:00.000000Z"
        assert [balances.balance(session, "fee", "EUR", Moment.of(day)) for day in ("2026-03-31", "2026-04-06")] == [
            1,
            0,
        ]


def test_a_period_is_closed_once_and_in_turn(march: Ledger) -> None:
    with march.writing() as session:
        set_time(session, "2026-04-06")
        first = periods.close_period(session, "2026-03-31")
        move(session, 2, "2026-03-10")
        assert periods.close_period(session, "2026-03-31T23:59:59.999999Z").entry == first.entry
        with pytest.raises(PeriodError, match="closed already"):
            periods.close_period(session, "2026-03-15")
        second = periods.close_period(session, "2026-04-05")
        assert [period.through for period in periods.periods(session)] == [first.through, second.through]
        assert audit(session).ok


@pytest.mark.parametrize("through", ["2026-04-06", "2026-04-06T00:00:00Z", "2027-01-01"])
def test_what_has_not_passed_is_not_closed(march: Ledger, through: str) -> None:
    with march.writing() as session:
        set_time(session, "2026-04-06")
        with pytest.raises(PeriodError, match="not passed"):
            periods.close_period(session, through)


def test_what_is_no_date_closes_nothing(march: Ledger) -> None:
    with march.writing() as session, pytest.raises(InstantError):
        periods.close_period(session, "March")


def test_empty_books_can_be_closed(books: Ledger) -> None:
    with books.writing() as session:
        periods.close_period(session, "2026-02-28")
        assert audit(session).ok
