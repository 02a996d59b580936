"""The rules of a ledger, fixed by its first entries."""

from __future__ import annotations

import re
import secrets
from decimal import Decimal

from sqlmodel import Session

from ledger.errors import SettingError
from ledger.models import Commodity, Setting
from ledger.money import NAT, NAT_EXPONENT
from ledger.proofs.note import is_key_name
from ledger.rows import register

TOLERANCE, ORIGIN = "tolerance", "origin"
_LONGEST_ORIGIN = 200  # characters

_DECIMAL = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def start(session: Session, tolerance: str, origin: str | None = None) -> None:
    """The first entries of a new ledger: its settings, and the commodity nat. Raises `SettingError`.

    `origin` is what the ledger's log is called in checkpoints; random, so that no other has it, where it is None.
    """
    register(session, Setting(name=TOLERANCE, value=_tolerance(tolerance), entry=0))
    named = f"ghostledger/{secrets.token_hex(8)}" if origin is None else origin
    register(session, Setting(name=ORIGIN, value=_origin(named), entry=0))
    register(session, Commodity(code=NAT, exponent=NAT_EXPONENT, entry=0))


def tolerance(session: Session) -> str:
    """The largest \\|gap\\| / \\|improvement\\| at which a run is settled, as decimal text."""
    return _tolerance(_value(session, TOLERANCE))


def origin(session: Session) -> str:
    """What the ledger's log is called in checkpoints (c2sp.org/tlog-checkpoint), and its key with it."""
    return _origin(_value(session, ORIGIN))


def _value(session: Session, name: str) -> str:
    setting = session.get(Setting, name)
    if setting is None:
        raise SettingError(name, "", "is missing from the ledger; run `ghostledger audit`")
    return setting.value


def _tolerance(value: str) -> str:
    if not _DECIMAL.fullmatch(value) or Decimal(value) > 1:
        raise SettingError(TOLERANCE, value, "must be a plain decimal number between 0 and 1, such as 0.01")
    return value


def _origin(value: str) -> str:
    if not is_key_name(value) or len(value) > _LONGEST_ORIGIN:
        reason = f"must be 1 to {_LONGEST_ORIGIN} characters without white space and '+', such as ledger.example/books"
        raise SettingError(ORIGIN, value, reason)
    return value
