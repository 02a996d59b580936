"""Assets and exact amounts: decimal text in, whole minor units inside, decimal text out. No float anywhere."""

from __future__ import annotations

import re
from dataclasses import dataclass

from iso4217 import Currency

from ledger.errors import AmountError, AssetError

LARGEST_AMOUNT = 2**256 - 1
LARGEST_EXPONENT = 18
NAT, NAT_EXPONENT = "nat", 12  # the commodity of valuation entries, in integers of 1e-12 nat

_CODE = re.compile(r"[A-Z][A-Z0-9]{1,15}")
_DECIMAL = re.compile(r"([0-9]+)(?:\.([0-9]+))?")


@dataclass(frozen=True)
class Asset:
    """What money is counted in: a code, and the number of decimals of its minor unit.

    Raises `AssetError` for a code that is not 2 to 16 capitals and digits, an exponent outside 0 to 18, or one that
    contradicts ISO 4217.
    """

    code: str
    exponent: int

    def __post_init__(self) -> None:
        if not _CODE.fullmatch(self.code):
            raise AssetError(self.code, "a code is 2 to 16 capital letters and digits, such as EUR or USDC")
        if not 0 <= self.exponent <= LARGEST_EXPONENT:
            raise AssetError(self.code, f"its exponent {self.exponent} is not between 0 and {LARGEST_EXPONENT}")
        official = _official_exponent(self.code)
        if official is not None and official != self.exponent:
            raise AssetError(self.code, f"ISO 4217 gives it {official} decimals, not {self.exponent}")

    @classmethod
    def named(cls, code: str, exponent: int | None = None) -> Asset:
        """The ISO 4217 currency `code`, or, with an exponent, a token of one's own."""
        official = _official_exponent(code)
        if exponent is None and official is None:
            raise AssetError(code, "is no ISO 4217 currency; for a token of your own give its decimals with --exponent")
        return cls(code, official if exponent is None else exponent)  # type: ignore[arg-type]

    def parse(self, text: str) -> int:
        """Whole minor units of the decimal `text`. Raises `AmountError` for anything inexact, signed or too large."""
        match = _DECIMAL.fullmatch(text.strip())
        if match is None:
            raise AmountError(text, "must be plain digits with at most one decimal point, such as 10000.00")
        whole, decimals = match[1], match[2] or ""
        if len(decimals) > self.exponent:
            raise AmountError(text, f"{self.code} has {self.exponent} decimals, not {len(decimals)}")
        if len(whole) > 78:
            raise AmountError(text, "is more than 2**256 - 1 minor units")
        minor = int(whole + decimals.ljust(self.exponent, "0"))
        if minor > LARGEST_AMOUNT:
            raise AmountError(text, "is more than 2**256 - 1 minor units")
        return minor

    def format(self, minor: int) -> str:
        """Decimal text of `minor` units, without the code: 1000000 → ``10000.00``; negative amounts keep their sign."""
        return format_units(minor, self.exponent)

    def __str__(self) -> str:
        return self.code


@dataclass(frozen=True)
class Amount:
    """A whole number of minor units of an asset, not negative."""

    minor: int
    asset: Asset

    def __post_init__(self) -> None:
        if not 0 <= self.minor <= LARGEST_AMOUNT:
            raise AmountError(str(self.minor), "is not between 0 and 2**256 - 1 minor units")

    @classmethod
    def parse(cls, text: str, exponent: int | None = None) -> Amount:
        """The amount that a text such as ``10000.00 EUR`` states. Raises `AmountError` or `AssetError`."""
        parts = text.split()
        if len(parts) != 2:
            raise AmountError(text, "must be a number and an asset, such as 10000.00 EUR")
        asset = Asset.named(parts[1], exponent)
        return cls(asset.parse(parts[0]), asset)

    def __str__(self) -> str:
        return f"{self.asset.format(self.minor)} {self.asset.code}"


def format_units(units: int, exponent: int) -> str:
    """Exact decimal text of ``units * 10**-exponent``."""
    digits = str(abs(units)).rjust(exponent + 1, "0")
    text = f"{digits[:-exponent]}.{digits[-exponent:]}" if exponent else digits
    return f"-{text}" if units < 0 else text


def format_nats(piconats: int, standard_error: int | None = None) -> str:
    """Exact decimal text in nats of an integer of 1e-12 nat, with its standard error where it has one."""
    text = format_units(piconats, NAT_EXPONENT)
    return text if standard_error is None else f"{text} ± {format_nats(standard_error)}"


def _official_exponent(code: str) -> int | None:
    try:
        exponent: int | None = Currency(code).exponent
    except ValueError:
        return None
    return exponent
