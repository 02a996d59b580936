"""What is due, in instalments: each is a hold on the contributor's account `vesting` until its date.

Instalments are whole numbers of parts; what is due is divided among them by largest remainder, ties going to the
earlier one. An instalment without a date is due at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ledger.errors import TermsError
from ledger.instants import parse_instant
from ledger.policies.policy import Due, Policy, Show, register
from ledger.split import proportional


@register
@dataclass(frozen=True)
class Vesting(Policy):
    """Instalments as (instant or None, parts), in their order. A date means its first moment, UTC."""

    name: ClassVar[str] = "vesting"
    instalments: tuple[tuple[str | None, int], ...]

    def __post_init__(self) -> None:
        made = tuple((None if at is None else parse_instant(at), parts) for at, parts in self.instalments)
        if not made or any(not isinstance(parts, int) or parts <= 0 for _, parts in made):
            raise TermsError("vesting", "needs instalments, each of a whole number of parts above zero")
        dates = [at or "" for at, _ in made]
        if dates != sorted(set(dates)):
            raise TermsError("vesting", "its instalments are not each later than the one before")
        object.__setattr__(self, "instalments", made)

    def divert(self, due: Due) -> Due:
        """What is due at once."""
        dated = {(place, at or ""): parts for place, (at, parts) in enumerate(self.instalments)}
        for (_, at), amount in proportional(due.amount, dated).items():
            if at:
                due = due.diverted("vesting", amount, release_at=at)
        return due

    def stated(self) -> dict[str, Any]:
        """Its terms as JSON."""
        return {"instalments": [{"release_at": at, "parts": parts} for at, parts in self.instalments]}

    @classmethod
    def read(cls, stated: Mapping[str, Any]) -> Vesting:
        """The policy with these terms."""
        return cls(tuple((one["release_at"], one["parts"]) for one in stated["instalments"]))

    def described(self, show: Show) -> str:
        """A phrase for people."""
        return "vesting " + ", ".join(f"{parts} parts {at or 'at once'}" for at, parts in self.instalments)
