"""One column type for amounts: whole numbers of up to 78 digits, without loss on every database."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from typing import Any

from sqlalchemy import Numeric, String
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from ledger.errors import AmountError, StoredAmountError

DIGITS = 78  # 2**256 - 1 has 78 digits
BALANCE_DIGITS = 97  # of sums: as many of the largest amount as a 64-bit counter can count

_STORED = re.compile("([pn])0*([0-9]*)")


def encode(value: int, digits: int = DIGITS) -> str:
    """Text that sorts as the number does: ``p`` and 78 digits, or ``n`` and the digits' complement to 10**78."""
    bound = _bound(digits)
    if type(value) is not int or not -bound < value < bound:
        raise AmountError(str(value), f"is no whole number of at most {digits} digits")
    return "p" + str(value).zfill(digits) if value >= 0 else "n" + str(bound + value).zfill(digits)


@cache
def encoder(digits: int) -> Callable[[int], str]:
    """`encode` of so many digits, for whoever encodes many numbers, few of them negative."""
    bound = _bound(digits)

    def encoded(value: int) -> str:
        return "p" + str(value).zfill(digits) if type(value) is int and 0 <= value < bound else encode(value, digits)

    return encoded


def decode(stored: object, digits: int = DIGITS) -> int:
    """The number that a database holds, as text or NUMERIC. Raises `StoredAmountError` for anything else."""
    if isinstance(stored, str):
        found = _STORED.fullmatch(stored)
        if found is not None and len(stored) == digits + 1:
            sign, significant = found.groups()
            if sign == "p":
                return int(significant or 0)
            if significant:  # nothing has one form only
                return int(significant) - _bound(digits)
    elif isinstance(stored, Decimal) and stored.is_finite() and stored == stored.to_integral_value():
        return int(stored)  # a server's NUMERIC may also hold NaN, which is above zero there
    raise StoredAmountError(str(stored))


@cache
def _bound(digits: int) -> int:
    """The smallest number of more digits."""
    return int(10**digits)


class ExactInteger(TypeDecorator[int]):
    """A signed whole number of up to 78 digits, or as many as said: NUMERIC on PostgreSQL, sortable text elsewhere.

    SQLite's own integers end at 2**63 - 1 and its NUMERIC columns turn into floats, so neither may hold money.
    """

    impl = String
    cache_ok = True

    def __init__(self, digits: int = DIGITS) -> None:
        super().__init__()
        self.digits = digits

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """NUMERIC where it is exact, text elsewhere."""
        exact = dialect.name == "postgresql"
        return dialect.type_descriptor(Numeric(self.digits, 0) if exact else String(self.digits + 1))

    def process_bind_param(self, value: int | None, dialect: Dialect) -> Any:
        """To the database. Raises `AmountError` beyond its digits."""
        if value is None:
            return None
        text = encode(value, self.digits)
        return Decimal(value) if dialect.name == "postgresql" else text

    def process_literal_param(self, value: int | None, dialect: Dialect) -> str:
        """To a literal inside a CHECK constraint."""
        if value is None:
            return "NULL"
        return str(value) if dialect.name == "postgresql" else encode(value, self.digits)

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:
        """From the database. Raises `StoredAmountError`."""
        return None if value is None else decode(value, self.digits)
