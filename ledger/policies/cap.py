"""The most that one contributor gets from a settlement: an amount, or a part of what all contributors get together.

What exceeds it goes to `surplus`, which is the buyer's again; or, redistributed, to the others in proportion to what
they are due, as far as their own caps, so that only what nobody may take is surplus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ledger.errors import TermsError
from ledger.policies.policy import BASIS, Due, Policy, Show, basis_points, register
from ledger.split import cut
from ledger.spool import Spool, ordered


@register
@dataclass(frozen=True)
class Cap(Policy):
    """A cap of `amount` minor units, or of so many basis points of all positive shares together, rounded down."""

    name: ClassVar[str] = "cap"
    amount: int | None = None
    basis_points: int | None = None
    redistribute: bool = False

    def __post_init__(self) -> None:
        if (self.amount is None) == (self.basis_points is None):
            raise TermsError("cap", "is either an amount or basis points of what all contributors get")
        if self.amount is not None and self.amount < 0:
            raise TermsError("cap", f"{self.amount} is below zero")
        if self.basis_points is not None:
            basis_points("cap", self.basis_points)

    def apply(self, dues: Iterable[Due], whole: int) -> Iterator[Due]:
        """No due above the cap."""
        limit = self._limit(whole)
        if not self.redistribute:
            yield from (_capped(due, limit) for due in dues)
            return
        kept = Spool(dues)
        level = levelled(lambda: ((due.contributor, due.amount) for due in kept), limit)
        left_over = sum(due.amount - level(due.contributor, due.amount) for due in kept)
        excess = sum(due.amount - limit for due in kept if due.amount > limit)
        above = ((due.contributor, left_over * (due.amount - limit)) for due in kept if due.amount > limit)
        surplus = cut(above, excess, left_over) if left_over else None
        for due in kept:
            lost = surplus.part(due.contributor, left_over * max(due.amount - limit, 0)) if surplus else 0
            yield _levelled(due, level(due.contributor, due.amount), lost)

    def divert(self, due: Due) -> Due:
        """The due by itself: a cap in basis points is of nothing else then."""
        return _capped(due, self._limit(due.amount))

    def _limit(self, whole: int) -> int:
        return self.amount if self.amount is not None else whole * (self.basis_points or 0) // BASIS

    def stated(self) -> dict[str, Any]:
        """Its terms as JSON."""
        return {
            "amount": None if self.amount is None else str(self.amount),
            "basis_points": self.basis_points,
            "redistribute": self.redistribute,
        }

    @classmethod
    def read(cls, stated: Mapping[str, Any]) -> Cap:
        """The policy with these terms."""
        amount = stated["amount"]
        return cls(None if amount is None else int(amount), stated["basis_points"], stated["redistribute"])

    def described(self, show: Show) -> str:
        """A phrase for people."""
        limit = f"{self.basis_points} basis points" if self.amount is None else show(self.amount)
        return f"cap of {limit}{', the rest to the others' if self.redistribute else ''}"


def levelled(amounts: Callable[[], Iterable[tuple[str, int]]], limit: int) -> Callable[[str, int], int]:
    """Amounts, none above the limit, that sum to as much as before, or to less where all have reached the limit.

    Who stays below the limit shares what the others leave in proportion to what they had, by largest remainder; so
    nobody gets less than before but for the limit, and nobody overtakes anybody. `amounts` gives everybody's as often
    as it is asked; returned is what one of them comes to.
    """
    rest = held = sum(amount for _, amount in amounts())  # what is shared by those below the limit, and what they had
    last: tuple[int, str] | None = None  # of those who are capped, largest first
    for least, name in ordered((-amount, name) for name, amount in amounts() if amount):
        # Capping one raises what the others get for each unit they had, so who was capped before stays so.
        if -least * rest <= limit * held:
            break
        last = (least, name)
        rest, held = rest - limit, held + least

    def capped(name: str, amount: int) -> bool:
        return last is not None and (-amount, name) <= last

    below = ((name, rest * amount) for name, amount in amounts() if amount and not capped(name, amount))
    shared = cut(below, held, rest) if held else None

    def level(name: str, amount: int) -> int:
        if not amount or shared is None:
            return limit if amount else 0
        return limit if capped(name, amount) else shared.part(name, rest * amount)

    return level


def _capped(due: Due, limit: int) -> Due:
    return due.diverted("surplus", max(due.amount - limit, 0))


def _levelled(due: Due, level: int, surplus: int) -> Due:
    rest = due.diverted("surplus", surplus)
    change = level - rest.amount
    return replace(rest, amount=level, redistributed=rest.redistributed + change) if change else rest
