"""What amounts are counted in."""

from __future__ import annotations

from sqlmodel import Session

from ledger.errors import AssetError
from ledger.models import Commodity
from ledger.money import Asset
from ledger.rows import register


def use_asset(session: Session, asset: Asset) -> Commodity:
    """The asset as a commodity of this ledger, made at its first use. Raises `AssetError` if its exponent changed."""
    known = session.get(Commodity, asset.code)
    if known is None:
        return register(session, Commodity(code=asset.code, exponent=asset.exponent, entry=0))
    if known.exponent != asset.exponent:
        raise AssetError(asset.code, f"has {known.exponent} decimals in this ledger, not {asset.exponent}")
    return known
