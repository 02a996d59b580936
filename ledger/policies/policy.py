"""What a policy is: a frozen dataclass with a name, a pure rule over what is due, and an exact JSON form.

Policies are applied one after the other. Each is given what every contributor is still due, and diverts parts of it
to homes of their own; what no policy diverts is paid. A new policy is a new file that calls `register`, imported in
``ledger/policies/__init__.py``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeVar

from ledger.errors import TermsError

BASIS = 10_000
Show = Callable[[int], str]  # how an amount of minor units is written


@dataclass(frozen=True)
class Part:
    """What was diverted: minor units, above zero, and the kind of account where they are."""

    home: str
    amount: int
    release_at: str | None = None  # of a hold: not before, in the stored form of instants
    reason: str | None = None


@dataclass(frozen=True)
class Claim:
    """What a due comes from, and who is paid it; policies pass it on."""

    value: int = 0  # 1e-12 nat
    share: int = 0  # signed: what the value comes to
    forgiven: int = 0  # of a negative share
    carried: int = 0
    slashed: int = 0
    estate: Mapping[str, int] = field(default_factory=dict)  # payees and their parts, if not the contributor


@dataclass(frozen=True)
class Due:
    """What one contributor is to get as far as it is not decided, and what bears on it. Minor units, none negative."""

    contributor: str
    amount: int
    owed: int = 0  # from earlier settlements, not netted yet
    accrued: int = 0  # from earlier settlements, too little to be paid then, and not drawn yet
    stopped: str | None = None  # why nothing may be paid now
    netted: int = 0
    drawn: int = 0
    redistributed: int = 0  # from others' caps, or, negative, given to others
    parts: tuple[Part, ...] = ()
    claim: Claim = Claim()

    def diverted(self, home: str, amount: int, *, release_at: str | None = None, reason: str | None = None) -> Due:
        """The rest, after an amount of it went to a home. Raises `ValueError` for more than there is."""
        if not 0 <= amount <= self.amount:
            raise ValueError(f"{amount} of {self.amount} cannot be diverted to {home}")
        if not amount:
            return self
        part = Part(home, amount, release_at, reason)
        return replace(self, amount=self.amount - amount, parts=(*self.parts, part))

    def with_accrued(self) -> Due:
        """With all that accrued earlier."""
        if not self.accrued:
            return self
        return replace(self, amount=self.amount + self.accrued, drawn=self.drawn + self.accrued, accrued=0)

    def with_netted(self) -> Due:
        """After earlier debts, as far as it reaches."""
        kept = min(self.owed, self.amount)
        if not kept:
            return self
        return replace(self, amount=self.amount - kept, owed=self.owed - kept, netted=self.netted + kept)


class Policy(ABC):
    """A rule that diverts some of what is due. Subclasses are frozen dataclasses that refuse nonsense when made."""

    name: ClassVar[str]

    def apply(self, dues: Iterable[Due], whole: int) -> Iterator[Due]:
        """What is left to everybody; `whole` is the sum of all positive shares. Nothing appears and nothing is lost.

        Dues are a stream. A policy that must know all of them before the first keeps them in a `Spool`.
        """
        return map(self.divert, dues)

    @abstractmethod
    def divert(self, due: Due) -> Due:
        """What is left to one contributor."""

    @abstractmethod
    def stated(self) -> dict[str, Any]:
        """Its terms as JSON, without its name: amounts as decimal text."""

    @classmethod
    @abstractmethod
    def read(cls, stated: Mapping[str, Any]) -> Policy:
        """The policy with these terms. Raises `TermsError`, `KeyError`, `TypeError` or `ValueError`."""

    @abstractmethod
    def described(self, show: Show) -> str:
        """A phrase for people."""


_KNOWN: dict[str, type[Policy]] = {}

P = TypeVar("P", bound=type[Policy])


def register(policy: P) -> P:
    """Make a policy known by its name, so that terms which name it can be read."""
    _KNOWN[policy.name] = policy
    return policy


def stated(policies: Sequence[Policy]) -> list[dict[str, Any]]:
    """Policies as JSON, in their order."""
    return [{"policy": policy.name, **policy.stated()} for policy in policies]


def read(stated: Sequence[Mapping[str, Any]]) -> tuple[Policy, ...]:
    """The policies that `stated` gave. Raises `TermsError`."""
    found = []
    for one in stated:
        terms = dict(one)
        name = str(terms.pop("policy", ""))
        if name not in _KNOWN:
            raise TermsError("policy", f"{name!r} is not known; there are {', '.join(sorted(_KNOWN))}")
        try:
            found.append(_KNOWN[name].read(terms))
        except (KeyError, TypeError, ValueError) as error:
            raise TermsError(name, f"cannot be read: {error}") from error
    return tuple(found)


def basis_points(policy: str, given: int) -> int:
    """The number, if it is 0 to 10 000. Raises `TermsError`."""
    if not isinstance(given, int) or not 0 <= given <= BASIS:
        raise TermsError(policy, f"{given} is not between 0 and {BASIS} basis points")
    return given
