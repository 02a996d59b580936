"""Tax kept back for the authorities: a part of what is due, rounded down, on the account `withheld`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ledger.policies.policy import BASIS, Due, Policy, Show, basis_points, register


@register
@dataclass(frozen=True)
class Withholding(Policy):
    """So many basis points of everybody's due."""

    name: ClassVar[str] = "withholding"
    basis_points: int

    def __post_init__(self) -> None:
        basis_points("withholding", self.basis_points)

    def divert(self, due: Due) -> Due:
        """Less the tax."""
        return due.diverted("withheld", due.amount * self.basis_points // BASIS)

    def stated(self) -> dict[str, Any]:
        """Its terms as JSON."""
        return {"basis_points": self.basis_points}

    @classmethod
    def read(cls, stated: Mapping[str, Any]) -> Withholding:
        """The policy with these terms."""
        return cls(stated["basis_points"])

    def described(self, show: Show) -> str:
        """A phrase for people."""
        return f"{self.basis_points} basis points withheld"
