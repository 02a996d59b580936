"""What entries say of money that is set aside: the holds that they make, and what becomes of earlier ones. Pure.

An entry states holds under "holds", and changes of earlier ones under "hold_changes", in its payload or in a
contributor's part. Accounts of a pending kind (`ledger/accounts.py`) change by exactly what is stated, in every entry,
reversals included: so they always hold what is left of their holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from ledger.accounts import KINDS, Key, kind_of
from ledger.errors import HeldAccountError, HoldError
from ledger.lines import Line, credit, debit
from ledger.models.holds import PURPOSES
from ledger.money import LARGEST_AMOUNT
from ledger.spool import ordered

KINDS_OF_HOLDS = frozenset(name for name, kind in KINDS.items() if kind.pending)
POSTED, VOIDED, EXPIRED, RESTORED = "posted", "voided", "expired", "restored"


@dataclass(frozen=True)
class NewHold:
    """A hold to be: `amount` smallest units in `account`, from `origin`, meant for `destination`.

    Instants are in stored form. All three are credit accounts of one commodity, the first of a pending kind and the
    others not. Raises `HoldError` and `AccountError`.
    """

    purpose: str
    account: str
    origin: str
    destination: str
    commodity: str
    amount: int
    release_at: str | None = None
    expires_at: str | None = None

    def __post_init__(self) -> None:
        if self.purpose not in PURPOSES:
            raise HoldError(None, f"is for {', '.join(PURPOSES)}, not for {self.purpose!r}")
        if not kind_of(self.account).pending:
            kinds = ", ".join(name for name, kind in KINDS.items() if kind.pending)
            raise HoldError(None, f"lies in an account of {kinds}, not in {self.account!r}")
        for name in (self.origin, self.destination):
            if kind_of(name).pending or kind_of(name).normal_side != "credit":
                raise HoldError(None, f"comes from and goes to credit accounts that hold no holds, and not {name!r}")
        if not 0 < self.amount <= LARGEST_AMOUNT:
            raise HoldError(None, f"is of 1 to 2**256 - 1 smallest units, not of {self.amount}")
        if self.release_at is not None and self.expires_at is not None and self.release_at >= self.expires_at:
            raise HoldError(None, f"that expires at {self.expires_at} cannot be kept until {self.release_at}")

    @property
    def lines(self) -> list[Line]:
        """What sets it aside: debit the origin, credit the hold's account."""
        return [debit(self.origin, self.commodity, self.amount), credit(self.account, self.commodity, self.amount)]


@dataclass(frozen=True)
class Change:
    """A hold's next step: all that is left of it where no amount is given."""

    hold: int
    change: str
    amount: int | None = None


def stated(hold: NewHold) -> dict[str, Any]:
    """What an entry says of a hold that it makes."""
    return {**asdict(hold), "amount": str(hold.amount)}


def stated_change(
    step: Change, account: str, commodity: str, to: Sequence[tuple[str, int]] | None = None
) -> dict[str, Any]:
    """What an entry says of a hold that it changes; `to` says where it went, if not where it was meant to go."""
    said = {"hold": step.hold, "change": step.change, "amount": str(step.amount)}
    said |= {"account": account, "commodity": commodity}
    return said if to is None else said | {"to": [[name, str(amount)] for name, amount in to]}


Move = tuple[Key, int, int]  # an account, 0 for a line or 1 for what is stated, and what is added to it


def stated_moves(said: Mapping[str, Any]) -> Iterator[Move]:
    """What the holds and changes that a payload or a part states add to accounts, smallest units."""
    for hold in said.get("holds", ()):
        yield (hold["account"], hold["commodity"]), 1, int(hold["amount"])
    for change in said.get("hold_changes", ()):
        sign = 1 if change["change"] == RESTORED else -1
        yield (change["account"], change["commodity"]), 1, sign * int(change["amount"])


def moved(line: Line) -> Move:
    """What a line adds to a pending account."""
    return (line.account, line.commodity), 0, -line.signed


def assert_stated(moves: Iterable[Move]) -> None:
    """Check that lines move pending accounts by what is stated. Raises `HeldAccountError`."""
    for (account, commodity), group in groupby(ordered(moves), key=lambda row: row[0]):
        sums = [0, 0]
        for _, which, amount in group:
            sums[which] += amount
        if sums[0] != sums[1]:
            raise HeldAccountError(account, commodity, *sums)
