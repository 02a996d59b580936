"""Beancount's format, checked against beancount 3: https://beancount.github.io/docs/beancount_language_syntax.html

Names are mapped by `ledger/export/names.py`. Debits are positive. Tolerances are set to nothing, so that beancount
balances to the smallest unit. Everything about an entry but its kind (payee) and subject (narration) is metadata.
Balances are asserted on the day after the last entry, because beancount looks at them when a day begins.

Beancount counts with 28 digits, Python's default, and rounds what is longer without a word. What needs more is
refused, unless the reader's beancount is given more: that takes a line of Python.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta

from ledger.errors import ExportDigitsError
from ledger.export.extract import Extract, day_of
from ledger.export.names import account_to_beancount, commodity_to_beancount
from ledger.models import Entry

DIGITS = 28  # of Python's default decimal context
_ESCAPES = str.maketrans({'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def beancount(extract: Extract, digits: int = DIGITS) -> Iterator[str]:
    """The whole journal; `bean-check` fails where it is wrong.

    Raises `ExportDigitsError` where beancount would meet a number, or make a sum, of more than `digits` digits.
    """
    yield f"; ghostledger, {extract.count} entries, head {extract.head}\n; To be read with: {_reader(digits)}\n\n"
    yield 'option "title" "ghostledger"\noption "tolerance_multiplier" "0"\n\n'
    for code, exponent in extract.exponents.items():
        yield f"{extract.first_day} commodity {commodity_to_beancount(code)}\n  exponent: {exponent}\n"
    yield "\n"
    for account in extract.accounts():
        codes = ",".join(map(commodity_to_beancount, account.commodities))
        yield f"{extract.first_day} open {account_to_beancount(account.name)} {codes}\n"
    for entry, lines in extract.entries():
        yield _head(entry)
        debits: dict[str, int] = defaultdict(int)
        for line in lines:
            amount = extract.decimal(line.signed, line.commodity)
            code = commodity_to_beancount(line.commodity)
            yield f"  {account_to_beancount(line.account):<48}  {amount:>24} {code}\n"
            debits[line.commodity] += line.amount if line.side == "debit" else 0
        for commodity, units in debits.items():
            _narrow(f"entry {entry.sequence}", commodity, units, digits)
    yield "\n"
    for total in extract.totals():
        # Beancount adds in the order of days, which is not ours: no sum on the way exceeds one side's.
        _narrow(f"account {total.account!r}", total.commodity, max(total.debit, total.credit), digits)
        held = extract.decimal(total.debit - total.credit, total.commodity)
        name, code = account_to_beancount(total.account), commodity_to_beancount(total.commodity)
        yield f"{extract.last_day + timedelta(days=1)} balance {name:<48}  {held:>24} ~ 0 {code}\n"


def _head(entry: Entry) -> str:
    said = {
        "event_at": entry.event_at,
        "recorded_at": entry.recorded_at,
        "reason": entry.reason,
        "reference": entry.reference,
        "key": entry.key,
        "hash": entry.hash,
    }
    metadata = "".join(f"  {name}: {_string(value)}\n" for name, value in said.items() if value is not None)
    if entry.reverses is not None:
        metadata += f"  reverses: {entry.reverses}\n"
    head = f"{day_of(entry.event_at)} * {_string(entry.kind)} {_string(entry.subject)}\n"
    return f"\n{head}  sequence: {entry.sequence}\n{metadata}"


def _string(text: str) -> str:
    return f'"{text.translate(_ESCAPES)}"'


def _narrow(where: str, commodity: str, units: int, digits: int) -> None:
    if units >= 10**digits:
        raise ExportDigitsError(where, commodity, len(str(units)), digits)


def _reader(digits: int) -> str:
    if digits == DIGITS:
        return "bean-check THIS"
    widen = f"import decimal; decimal.getcontext().prec = {digits}"
    return f'python -c "{widen}; from beancount.scripts.check import main; main()" THIS'
