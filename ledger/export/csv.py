"""A table (RFC 4180), UTF-8: one row a posting, and one for an entry that moves nothing.

`amount` has all of the commodity's decimals and is positive on the debit side, so that it sums to nothing in each
commodity.
"""

from __future__ import annotations

import csv as rows
import io
from collections.abc import Iterator
from itertools import chain

from ledger.export.extract import Extract
from ledger.lines import Line

COLUMNS = (
    *("sequence", "event_at", "recorded_at", "kind", "subject", "reason", "reference", "key", "reverses", "hash"),
    *("account", "commodity", "side", "amount"),
)


def csv(extract: Extract) -> Iterator[str]:
    """The table, a row at a time; what there is none of is empty."""
    yield _row(COLUMNS)
    for entry, lines in extract.entries():
        said = [getattr(entry, name) for name in COLUMNS[:10]]
        first = next(lines, None)
        if first is None:
            yield _row([*said, None, None, None, None])
        for line in chain([] if first is None else [first], lines):
            yield _row([*said, *_columns(extract, line)])


def _columns(extract: Extract, line: Line) -> tuple[str, str, str, str]:
    return line.account, line.commodity, line.side, extract.decimal(line.signed, line.commodity)


def _row(values: object) -> str:
    made = io.StringIO()
    rows.writer(made).writerow(values)  # type: ignore[arg-type]
    return made.getvalue()
