"""Our names for accounts and commodities in beancount's terms, and back.

Beancount wants one of five roots, and segments of letters, digits and dashes that begin with a capital or a digit.
So ``payable:alice`` becomes ``Liabilities:Payable:Alice``: the root goes by the account's kind, segments begin with a
capital, and ``-``, ``_`` and ``.``, of which our names have never two in a row, become ``-``, ``--`` and ``---``.

Commodities are in capitals there: ``nat`` becomes ``NAT``, and ``nat.run``, in which valuations called ``run`` are
counted, ``NAT.RUN``. An asset whose own code is that, or one of the words that
beancount reads as something else, gets ``-TOKEN`` behind it. Everything is reversible.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ledger.money import NAT
from ledger.valuation_names import is_nats

ROOTS: Mapping[str, str] = {
    # Taken together, assets in money are the cash that the books know of, and what contributors owe.
    "improvement": "Assets",
    "buyer": "Assets",
    "bank": "Assets",
    "paid": "Assets",
    "receivable": "Assets",
    "escrow": "Liabilities",
    "payable": "Liabilities",
    "accrued": "Liabilities",
    "holdback": "Liabilities",
    "vesting": "Liabilities",
    "stopped": "Liabilities",
    "disputed": "Liabilities",
    "publishing": "Liabilities",
    "in_flight": "Liabilities",
    "stake": "Liabilities",
    "withheld": "Liabilities",
    "surplus": "Liabilities",
    "house_disputed": "Liabilities",
    "value": "Equity",
    "conversion": "Equity",
    "house": "Income",
    "gap": "Income",
    "fee": "Income",
}
_SEPARATORS = {"-": "-", "_": "--", ".": "---"}
_SINGLE = {run: separator for separator, run in _SEPARATORS.items()}
_CAPITAL_NAT = NAT.upper()
_TAKEN = (_CAPITAL_NAT, "TRUE", "FALSE", "NULL")
_TOKEN = "-TOKEN"


def account_to_beancount(name: str) -> str:
    """``Liabilities:In--flight:Alice`` of ``in_flight:alice``."""
    kind = name.partition(":")[0]
    return ":".join([ROOTS[kind], *map(_segment, name.split(":"))])


def account_from_beancount(name: str) -> str:
    """``in_flight:alice`` of ``Liabilities:In--flight:Alice``."""
    return ":".join(re.sub("-+", lambda run: _SINGLE[run[0]], segment.lower()) for segment in name.split(":")[1:])


def commodity_to_beancount(code: str) -> str:
    """``NAT`` of ``nat``, ``NAT.RUN`` of ``nat.run``; other codes as they are, or with ``-TOKEN`` behind them."""
    if is_nats(code):
        return code.upper()
    return f"{code}{_TOKEN}" if code in _TAKEN else code


def commodity_from_beancount(code: str) -> str:
    """``nat`` of ``NAT``, ``nat.run`` of ``NAT.RUN``; other codes without ``-TOKEN``."""
    return code.lower() if is_nats(code.lower()) else code.removesuffix(_TOKEN)


def _segment(segment: str) -> str:
    return re.sub("[-_.]", lambda separator: _SEPARATORS[separator[0]], segment[0].upper() + segment[1:])
