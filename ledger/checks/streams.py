"""Rows read as streams, in step with the entries that they belong to: memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session

ROWS = 1000  # held in memory at a time


def stream(session: Session, query: Any) -> Iterator[Any]:
    """A query's rows, a few at a time."""
    yield from session.exec(query.execution_options(yield_per=ROWS))


def as_stored(column: Any) -> Any:
    """A column as the database holds it: a damaged amount is to be named by the check that meets it."""
    return sa.type_coerce(column, sa.String)


class InStep:
    """Reads rows in step with the entries that their first columns name; they come in that order."""

    def __init__(self, rows: Iterable[Any]) -> None:
        self._rows = iter(rows)
        self._next = next(self._rows, None)

    def before(self, sequence: int | None) -> Iterator[Any]:
        """The rows not yet read of entries ahead of this one, or all of them."""
        while self._next is not None and (sequence is None or self._next[0] < sequence):
            row, self._next = self._next, next(self._rows, None)
            yield row

    def of(self, sequence: int) -> Iterator[Any]:
        """The rows of this entry, once those ahead of it are read."""
        return self.before(sequence + 1)
