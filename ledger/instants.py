"""Points in time as text that sorts: ISO 8601, UTC, always with microseconds."""

from __future__ import annotations

from datetime import UTC, date, datetime, time

from ledger.errors import InstantError


def format_instant(moment: datetime) -> str:
    """The stored form of a moment, for instance ``2026-03-01T12:00:00.000000Z``. The moment needs an offset."""
    if moment.tzinfo is None:
        raise InstantError(moment.isoformat())
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_instant(text: str | date | datetime) -> str:
    """The stored form of a date (its first moment, UTC) or of a date and time with offset. Raises `InstantError`."""
    moment = _read(text) if isinstance(text, str) else text
    if not isinstance(moment, datetime):
        moment = datetime.combine(moment, time(), UTC)
    try:
        return format_instant(moment)
    except OverflowError as error:
        raise InstantError(moment.isoformat()) from error


def parse_end(text: str | date | datetime) -> str:
    """As `parse_instant`, but a date means its last moment: whatever happened that day lies before the end of it."""
    moment = _read(text) if isinstance(text, str) else text
    if not isinstance(moment, datetime):
        moment = datetime.combine(moment, time.max, UTC)
    return parse_instant(moment)


def _read(text: str) -> date | datetime:
    try:
        return date.fromisoformat(text) if len(text) == 10 else datetime.fromisoformat(text)
    except ValueError as error:
        raise InstantError(text) from error
