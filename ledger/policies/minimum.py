"""The least that is paid out. What comes to less stays on the contributor's account `accrued` until it is enough.

What is due now counts together with what accrued before, from settlements in the same asset. Enough, all of it is
due. A minimum of nothing pays whatever accrued.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ledger.errors import TermsError
from ledger.policies.policy import Due, Policy, Show, register


@register
@dataclass(frozen=True)
class Minimum(Policy):
    """Nobody is paid less than `amount` minor units."""

    name: ClassVar[str] = "minimum"
    amount: int

    def __post_init__(self) -> None:
        if self.amount < 0:
            raise TermsError("minimum", f"{self.amount} is below zero")

    def divert(self, due: Due) -> Due:
        """All that was earned, or nothing."""
        if due.amount + due.accrued < self.amount:
            return due.diverted("accrued", due.amount)
        return due.with_accrued()

    def stated(self) -> dict[str, Any]:
        """Its terms as JSON."""
        return {"amount": str(self.amount)}

    @classmethod
    def read(cls, stated: Mapping[str, Any]) -> Minimum:
        """The policy with these terms."""
        return cls(int(stated["amount"]))

    def described(self, show: Show) -> str:
        """A phrase for people."""
        return f"minimum of {show(self.amount)}"
