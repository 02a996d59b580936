"""What a policy is given, and what it gives back. Values are integers of 1e-12 nat, money is in minor units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ledger.errors import TermsError
from ledger.money import Amount

Mode = Literal["pool", "rate"]
Negative = Literal["floor", "carry"]
BASIS = 10_000


@dataclass(frozen=True)
class Terms:
    """What a settlement was agreed to be.

    `amount` is the budget of a pool, or the price of one nat. Raises `TermsError` for anything else than an amount
    above zero, a known mode and treatment, and a fee of 0 to 10 000 basis points.
    """

    mode: Mode
    amount: Amount
    negative: Negative = "floor"
    fee_basis_points: int = 0
    partial: bool = False  # whether a run that stopped early may be settled

    def __post_init__(self) -> None:
        if self.mode not in ("pool", "rate"):
            raise TermsError("mode", f"{self.mode!r} is neither 'pool' nor 'rate'")
        if self.negative not in ("floor", "carry"):
            raise TermsError("negative values", f"{self.negative!r} is neither 'floor' nor 'carry'")
        if not self.amount.minor:
            raise TermsError(self.mode, f"{self.amount} is nothing: the amount must be above zero")
        if not 0 <= self.fee_basis_points <= BASIS:
            raise TermsError("fee", f"{self.fee_basis_points} is not between 0 and {BASIS} basis points")

    def __str__(self) -> str:
        price = f"pool of {self.amount}" if self.mode == "pool" else f"{self.amount} a nat"
        partial = ", partial run" if self.partial else ""
        return f"{price}, negative values: {self.negative}, fee {self.fee_basis_points} basis points{partial}"


@dataclass(frozen=True)
class Worth:
    """A run's valuation: ``improvement == sum(values) + house + gap``, in integers of 1e-12 nat."""

    values: Mapping[str, int]  # by contributor
    house: int
    gap: int

    @property
    def improvement(self) -> int:
        """Weighted loss before the run minus after it."""
        return sum(self.values.values()) + self.house + self.gap


@dataclass(frozen=True)
class Division:
    """Money by part, before negative shares are treated: ``funded == sum(shares) + house + gap + fee``."""

    shares: Mapping[str, int]  # by contributor, signed
    house: int
    gap: int
    fee: int
    funded: int  # what the buyer pays in; negative where a price per nat meets a loss


@dataclass(frozen=True)
class Treated:
    """What a negative share comes to: forgiven (the house bears it) plus owed (a receivable) is all of it."""

    forgiven: int
    owed: int


def fee_of(amount: int, basis_points: int) -> int:
    """A fee, rounded down."""
    return amount * basis_points // BASIS
