"""Nothing is paid while a dispute is open or consent is withdrawn: all that is due waits on the account `stopped`.

Who is stopped, and why, is a fact of the books at the moment of the settlement (`ledger/standing.py`). It waits as a
hold that may be released when the reason has ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ledger.policies.policy import Due, Policy, Show, register


@register
@dataclass(frozen=True)
class StopPayment(Policy):
    """All that is due to whoever is stopped."""

    name: ClassVar[str] = "stop payment"

    def divert(self, due: Due) -> Due:
        """Nothing, or everything."""
        if due.stopped is None:
            return due
        return due.diverted("stopped", due.amount, reason=due.stopped)

    def stated(self) -> dict[str, Any]:
        """It has no terms."""
        return {}

    @classmethod
    def read(cls, stated: Mapping[str, Any]) -> StopPayment:
        """The policy."""
        return cls(**stated)

    def described(self, show: Show) -> str:
        """A phrase for people."""
        return "payment stopped while there is a dispute or no consent"
