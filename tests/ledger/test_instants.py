from datetime import UTC, date, datetime

import pytest

from ledger.errors import InstantError
from ledger.instants import format_instant, parse_end, parse_instant


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("2026-03-01", "2026-03-01T00:00:00.000000Z"),
        (date(2026, 3, 1), "2026-03-01T00:00:00.000000Z"),
        ("2026-03-01T12:00:00Z", "2026-03-01T12:00:00.000000Z"),
        ("2026-03-01T12:00:00.25+02:00", "2026-03-01T10:00:00.250000Z"),
        (datetime(2026, 3, 1, 1, tzinfo=UTC), "2026-03-01T01:00:00.000000Z"),
        ("0987-03-01", "0987-03-01T00:00:00.000000Z"),
    ],
)
def test_every_instant_has_one_stored_form(given: object, stored: str) -> None:
    assert parse_instant(given) == stored  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", ["", "soon", "2026-13-01", "2026-03-01T12:00:00", "2026-02-30", "0001-01-01T00:00:00+10:00"]
)
def test_what_is_no_instant_is_refused(text: str) -> None:
    with pytest.raises(InstantError):
        parse_instant(text)


def test_a_moment_without_offset_is_refused() -> None:
    with pytest.raises(InstantError):
        format_instant(datetime(2026, 3, 1))


@pytest.mark.parametrize("given", ["2026-03-01", date(2026, 3, 1)])
def test_the_end_of_a_date_is_its_last_moment(given: str | date) -> None:
    assert parse_end(given) == "2026-03-01T23:59:59.999999Z"


@pytest.mark.parametrize("given", ["2026-03-01T12:00:00+02:00", datetime(2026, 3, 1, 10, tzinfo=UTC)])
def test_the_end_of_an_instant_is_itself(given: str | datetime) -> None:
    assert parse_end(given) == parse_instant(given) == "2026-03-01T10:00:00.000000Z"
