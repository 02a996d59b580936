"""hledger's journal format, checked against hledger 1.25: https://hledger.org/1.25/hledger.html

Accounts keep their names, and hledger takes the part before the colon for the parent. Debits are positive. Commodities
are declared with all their decimals, so that hledger balances to the smallest unit. Everything about an entry but its
kind and subject is in tags; what a tag or a description cannot hold is percent-encoded as UTF-8 (RFC 3986). The last
transaction moves nothing and asserts every balance.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from ledger.export.extract import Extract, day_of
from ledger.export.names import ROOTS
from ledger.models import Entry

_TYPES = {"Assets": "A", "Liabilities": "L", "Equity": "E", "Income": "R", "Expenses": "X"}


def hledger(extract: Extract) -> Iterator[str]:
    """The whole journal; `hledger check --strict` fails where it is wrong."""
    yield f"; ghostledger, {extract.count} entries, head {extract.head}\n"
    yield "; To be read with: hledger --file THIS check --strict\n\ndecimal-mark .\n\n"
    for code in extract.exponents:
        zero = extract.decimal(0, code)
        yield f"commodity {zero if '.' in zero else f'{zero}.'} {_commodity(code)}\n"
    yield "\n"
    for account in extract.accounts():
        yield f"account {account.name}  ; type:{_TYPES[ROOTS[account.name.partition(':')[0]]]}\n"
    for entry, lines in extract.entries():
        yield _head(entry)
        for line in lines:
            yield _posting(line.account, extract.decimal(line.signed, line.commodity), line.commodity)
    yield f"\n{extract.last_day} * balances after entry {extract.count}\n"
    for total in extract.totals():
        zero, held = (extract.decimal(units, total.commodity) for units in (0, total.debit - total.credit))
        symbol = _commodity(total.commodity)
        yield f"    {total.account:<40}  {zero} {symbol} = {held} {symbol}\n"


def _head(entry: Entry) -> str:
    said = {
        "event_at": entry.event_at,
        "recorded_at": entry.recorded_at,
        "reason": entry.reason,
        "reference": entry.reference,
        "key": entry.key,
        "reverses": entry.reverses,
        "hash": entry.hash,
    }
    tags = "".join(f"    ; {name}:{_text(str(value), ',')}\n" for name, value in said.items() if value is not None)
    description = f"{_text(entry.kind, ';|')} | {_text(entry.subject, ';')}"
    return f"\n{day_of(entry.event_at)} * ({entry.sequence}) {description}\n{tags}"


def _posting(account: str, amount: str, commodity: str) -> str:
    return f"    {account:<40}  {amount:>24} {_commodity(commodity)}\n"


def _commodity(code: str) -> str:
    """A symbol in quotes unless it is letters only."""
    return code if code.isalpha() else f'"{code}"'


def _text(text: str, reserved: str) -> str:
    """The text in one line, without the characters that would end it; spaces count inside it only."""
    last = len(text) - 1
    return "".join(
        quote(character, safe="")
        if character in reserved
        or character == "%"
        or not character.isprintable()
        or (character == " " and place in (0, last))
        else character
        for place, character in enumerate(text)
    )
