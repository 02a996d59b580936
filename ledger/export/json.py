"""One JSON document (RFC 8259): everything that the journal's hashes cover, so that they can be recomputed from it.

Amounts are decimal text, with all of the commodity's decimals, and `units` the same as a whole number of smallest
units, as text too: JSON's numbers are too small for them. `payload` is text, byte for byte what was hashed
(`ledger/canonical.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from json import dumps
from typing import Any

from ledger.balances import Total
from ledger.export.extract import Extract
from ledger.lines import Line
from ledger.models import Account, Entry


def json(extract: Extract) -> Iterator[str]:
    """The document, in pieces; every entry begins a line of its own."""
    parts = extract.parts()
    yield f'{{"head": {_text({"count": extract.count, "hash": extract.head})}'
    yield ',\n"commodities": '
    yield from _list(_text({"code": code, "exponent": exponent}) for code, exponent in extract.exponents.items())
    yield ',\n"accounts": '
    yield from _list(_text(_account(row)) for row in extract.account_rows())
    yield ',\n"entries": ['
    for entry, lines in extract.entries():
        yield f"{'' if entry.sequence == 1 else ','}\n{_text(_entry(entry))[:-1]}"
        yield ', "parts": '
        yield from _list(_text({"contributor": row[1], "payload": row[2]}) for row in parts.of(entry.sequence))
        yield ', "postings": '
        yield from _list(_text(_posting(extract, line)) for line in lines)
        yield "}"
    yield '\n],\n"balances": '
    yield from _list(_text(_total(extract, total)) for total in extract.totals())
    yield "}\n"


def _list(items: Iterator[str]) -> Iterator[str]:
    mark = "["
    for item in items:
        yield f"{mark}\n{item}"
        mark = ","
    yield "[]" if mark == "[" else "]"


def _text(value: dict[str, Any]) -> str:
    return dumps(value, ensure_ascii=False)


def _account(row: Account) -> dict[str, Any]:
    return {
        "name": row.name,
        "commodity": row.commodity,
        "kind": row.kind,
        "contributor": row.contributor,
        "normal_side": row.normal_side,
        "floor": None if row.floor is None else str(row.floor),
    }


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "sequence": entry.sequence,
        "kind": entry.kind,
        "subject": entry.subject,
        "event_at": entry.event_at,
        "recorded_at": entry.recorded_at,
        "stated_at": entry.stated_at,
        "reason": entry.reason,
        "reference": entry.reference,
        "reverses": entry.reverses,
        "key": entry.key,
        "payload": entry.payload,
        "content": entry.content,
        "previous": entry.previous,
        "hash": entry.hash,
    }


def _posting(extract: Extract, line: Line) -> dict[str, Any]:
    return {
        "account": line.account,
        "commodity": line.commodity,
        "side": line.side,
        "amount": extract.decimal(line.amount, line.commodity),
        "units": str(line.amount),
    }


def _total(extract: Extract, total: Total) -> dict[str, Any]:
    return {
        "account": total.account,
        "commodity": total.commodity,
        "debit": extract.decimal(total.debit, total.commodity),
        "credit": extract.decimal(total.credit, total.commodity),
        "normal_side": total.normal_side,
        "balance": extract.decimal(total.balance, total.commodity),
    }
