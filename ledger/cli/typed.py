"""What a person typed, read: names with parts, and amounts with their asset."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sqlmodel import Session

from ledger.errors import AssetError, LedgerError
from ledger.models import Commodity
from ledger.money import Amount, Asset
from ledger.valuation_names import is_nats


class PartsError(LedgerError):
    """Names with parts, given on the command line, cannot be read."""


def parts(option: str, given: Sequence[str]) -> dict[str, int]:
    """Names with a whole number of parts each, typed as ``alice=2`` or, for one part, ``alice``.

    Raises `PartsError`.
    """
    found: dict[str, int] = {}
    for text in given:
        name, equals, number = text.partition("=")
        if not name or (equals and not re.fullmatch("[0-9]{1,9}", number)):
            raise PartsError(f"{option} {text}: must be ID or ID=PARTS, such as alice=2")
        if name in found:
            raise PartsError(f"{option} {text}: {name!r} is named twice")
        found[name] = int(number) if equals else 1
    return found


def amount(session: Session, text: str) -> Amount:
    """An amount such as ``100.00 EUR``, or ``5 TOK`` of a token that the ledger knows.

    Raises `AmountError` or `AssetError`.
    """
    known = session.get(Commodity, text.split()[-1]) if text.split() else None
    return Amount.parse(text, known.exponent if known else None)


def commodity_of(session: Session, code: str) -> Commodity:
    """An asset that the ledger knows, or nat. Raises `AssetError`."""
    known = session.get(Commodity, code)
    if known is None:
        raise AssetError(code, "has not been used in this ledger")
    return known


def units(session: Session, text: str, code: str) -> int:
    """Smallest units of a decimal text that may have a sign, in an asset that the ledger knows or ISO 4217 does.

    Raises `AmountError` or `AssetError`.
    """
    known = session.get(Commodity, code)
    if is_nats(code):
        raise AssetError(code, "is no money")
    asset = Asset.named(code, known.exponent if known else None)
    minor = asset.parse(text.removeprefix("-"))
    return -minor if text.startswith("-") else minor
