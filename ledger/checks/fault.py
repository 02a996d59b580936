"""A fault, and what checks share: reading stored lines and payloads without trusting them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col

from ledger.errors import StoredAmountError
from ledger.exact_integer import decode
from ledger.lines import Line
from ledger.models import Entry, Posting

Claims = Mapping[str, str]  # the names of checks, and what each claims


@dataclass(frozen=True)
class Fault:
    """Something that does not hold, and the row where."""

    check: str
    detail: str


def stored_lines(session: Session, sequence: int) -> list[Line]:
    """An entry's lines as they are stored. Raises `StoredAmountError`."""
    return [read_line(*row) for row in line_rows(session, sequence)]


def line_rows(session: Session, sequence: int) -> Iterator[tuple[int, int, str, str, str, Any]]:
    """An entry's lines as they are stored, in order: as `all_lines` gives them."""
    query = _postings().where(Posting.entry == sequence)
    yield from session.exec(query.execution_options(yield_per=1000))


def all_lines(session: Session) -> Iterator[tuple[int, int, str, str, str, Any]]:
    """Every stored line, in order: entry, line, account, commodity, side, and the amount as it is stored."""
    yield from session.exec(_postings().execution_options(yield_per=1000))


def read_line(entry: int, line: int, account: str, commodity: str, side: Any, amount: object) -> Line:
    """A line from its columns. Raises `StoredAmountError`."""
    return Line(str(account), str(commodity), side, decode(amount))


def _postings() -> Any:
    # The amount as text: a damaged one is to be named by the check that meets it.
    amount = sa.type_coerce(col(Posting.amount), sa.String)
    columns: Any = (Posting.entry, Posting.line, Posting.account, Posting.commodity, Posting.side, amount)
    return sa.select(*columns).order_by(col(Posting.entry), col(Posting.line))


def stated(entry: Entry) -> dict[str, Any] | None:
    """What an entry's payload says, or None where it is no JSON object."""
    return stated_in(entry.payload)


def stated_in(payload: str | None) -> dict[str, Any] | None:
    """The same of a payload's text."""
    try:
        loaded = json.loads(payload or "")
    except (ValueError, TypeError):
        return None
    return loaded if isinstance(loaded, dict) else None


def line_faults(session: Session, check: str, what: str, sequence: int, wanted: Iterable[Line]) -> Iterator[Fault]:
    """Where an entry's stored lines are not the recomputed ones."""
    expected = (line for line in wanted if line.amount)
    for number, (row, right) in enumerate(zip_longest(line_rows(session, sequence), expected), start=1):
        name = f"{what}, entry {sequence}, posting {number}"
        try:
            stored = None if row is None else read_line(*row)
        except StoredAmountError as error:
            yield Fault(check, f"{name}: {error}")
            continue
        if stored != right:
            yield Fault(check, f"{name}: holds {_shown(stored)}, recomputed {_shown(right)}")


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    """The fields in which two payloads differ, a phrase each."""
    for name in sorted({*found, *wanted}):
        stored, right = found.get(name), wanted.get(name)
        if stored == right:
            continue
        if isinstance(stored, dict) and isinstance(right, dict):
            yield from (f"{name}: {inner}" for inner in differences(stored, right))
        elif _named(stored) and _named(right):
            yield from _list_differences(name, stored or [], right or [])
        else:
            yield f"{name} is {stored!r} in one and {right!r} in the other"


def _named(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _list_differences(name: str, stored: Sequence[Any], right: Sequence[Any]) -> Iterator[str]:
    nothing: Mapping[str, Any] = {}
    for one, other in zip_longest(stored, right, fillvalue=nothing):
        label = one.get("contributor") or one.get("task") or other.get("contributor") or other.get("task")
        yield from (f"{name} of {label!r}: {inner}" for inner in differences(one, other))


def _shown(line: Line | None) -> str:
    return f"{line.side} {line.account} {line.amount} {line.commodity}" if line else "nothing"
