"""A part of what is due, kept back until a release date: a hold on the contributor's account `holdback`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ledger.instants import parse_instant
from ledger.policies.policy import BASIS, Due, Policy, Show, basis_points, register


@register
@dataclass(frozen=True)
class Holdback(Policy):
    """So many basis points of everybody's due, rounded down, until an instant. A date means its first moment, UTC."""

    name: ClassVar[str] = "holdback"
    basis_points: int
    release_at: str

    def __post_init__(self) -> None:
        basis_points("holdback", self.basis_points)
        object.__setattr__(self, "release_at", parse_instant(self.release_at))

    def divert(self, due: Due) -> Due:
        """Less what is kept back."""
        return due.diverted("holdback", due.amount * self.basis_points // BASIS, release_at=self.release_at)

    def stated(self) -> dict[str, Any]:
        """Its terms as JSON."""
        return {"basis_points": self.basis_points, "release_at": self.release_at}

    @classmethod
    def read(cls, stated: Mapping[str, Any]) -> Holdback:
        """The policy with these terms."""
        return cls(stated["basis_points"], stated["release_at"])

    def described(self, show: Show) -> str:
        """A phrase for people."""
        return f"{self.basis_points} basis points held back until {self.release_at}"
