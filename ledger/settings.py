"""The rules of a ledger, fixed by its first entries."""

from __future__ import annotations

import re
from decimal import Decimal

from sqlmodel import Session

from ledger.errors import SettingError
from ledger.models import Commodity, Setting
from ledger.money import NAT, NAT_EXPONENT
from ledger.rows import register

TOLERANCE = "tolerance"

_DECIMAL = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def start(session: Session, tolerance: str) -> None:
    """The first entries of a new ledger: its settings, and the commodity nat. Raises `SettingError`."""
    register(session, Setting(name=TOLERANCE, value=_tolerance(tolerance), entry=0))
    register(session, Commodity(code=NAT, exponent=NAT_EXPONENT, entry=0))


def tolerance(session: Session) -> str:
    """The largest \\|gap\\| / \\|improvement\\| at which a run is settled, as decimal text."""
    setting = session.get(Setting, TOLERANCE)
    if setting is None:
        raise SettingError(TOLERANCE, "", "is missing from the ledger; run `ghostledger audit`")
    return _tolerance(setting.value)


def _tolerance(value: str) -> str:
    if not _DECIMAL.fullmatch(value) or Decimal(value) > 1:
        raise SettingError(TOLERANCE, value, "must be a plain decimal number between 0 and 1, such as 0.01")
    return value
