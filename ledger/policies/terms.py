"""What a policy is given, and what it gives back. Values are integers of 1e-12 nat, money is in minor units."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ledger.errors import TermsError
from ledger.money import Amount, Asset
from ledger.policies import policy
from ledger.policies.policy import BASIS, Policy

Mode = Literal["pool", "rate"]
Negative = Literal["floor", "carry", "slash"]


@dataclass(frozen=True)
class Terms:
    """What a settlement was agreed to be.

    `amount` is the budget of a pool, or the price of one nat. Raises `TermsError` for anything else than an amount
    above zero, a known mode and treatment, a fee of 0 to 10 000 basis points, and policies of which each occurs once.
    """

    mode: Mode
    amount: Amount
    negative: Negative = "floor"
    fee_basis_points: int = 0
    partial: bool = False  # whether a run that stopped early may be settled
    task: str | None = None  # settle this task's own, unweighted values
    policies: tuple[Policy, ...] = ()  # applied in this order
    by: str | None = None  # the runs' valuation that is paid by; None for their own

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise TermsError("mode", f"{self.mode!r} is neither 'pool' nor 'rate'")
        if self.negative not in get_args(Negative):
            raise TermsError("negative values", f"{self.negative!r} is none of {', '.join(get_args(Negative))}")
        if not self.amount.minor:
            raise TermsError(self.mode, f"{self.amount} is nothing: the amount must be above zero")
        policy.basis_points("fee", self.fee_basis_points)
        names = [one.name for one in self.policies]
        for name in names:
            if names.count(name) > 1:
                raise TermsError(name, "can be agreed on once only")

    @property
    def asset(self) -> Asset:
        """What the settlement pays in."""
        return self.amount.asset

    def stated(self) -> dict[str, Any]:
        """The terms as JSON, amounts as decimal text of minor units."""
        return {
            "mode": self.mode,
            "asset": self.asset.code,
            "exponent": self.asset.exponent,
            "amount": str(self.amount.minor),
            "negative": self.negative,
            "fee_basis_points": self.fee_basis_points,
            "partial": self.partial,
            "task": self.task,
            "policies": policy.stated(self.policies),
            **({} if self.by is None else {"by": self.by}),
        }

    def __str__(self) -> str:
        price = f"pool of {self.amount}" if self.mode == "pool" else f"{self.amount} a nat"
        also = [one.described(lambda minor: f"{self.asset.format(minor)} {self.asset}") for one in self.policies]
        return ", ".join(
            [
                price,
                *([f"task {self.task}"] if self.task else []),
                *([f"by valuation {self.by}"] if self.by else []),
                f"negative values: {self.negative}",
                f"fee {self.fee_basis_points} basis points",
                *(["partial run"] if self.partial else []),
                *also,
            ]
        )


def read_terms(stated: Mapping[str, Any]) -> Terms:
    """The terms that `Terms.stated` gave. Raises `TermsError`, and what bad amounts raise."""
    try:
        asset = Asset(stated["asset"], stated["exponent"])
        return Terms(
            mode=stated["mode"],
            amount=Amount(int(stated["amount"]), asset),
            negative=stated["negative"],
            fee_basis_points=stated["fee_basis_points"],
            partial=stated["partial"],
            task=stated["task"],
            policies=policy.read(stated["policies"]),
            by=stated.get("by"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise TermsError("terms", f"cannot be read: {error}") from error


@dataclass(frozen=True)
class Worth:
    """A run's valuation, or several runs' or one task's: ``improvement == sum(values) + house + gap``, 1e-12 nat."""

    values: Mapping[str, int]  # by contributor
    house: int
    gap: int

    @property
    def improvement(self) -> int:
        """Weighted loss before the run minus after it."""
        return sum(self.values.values()) + self.house + self.gap


class Shares(Mapping[str, int]):
    """Signed shares by contributor, worked out from values one at a time, in their order."""

    def __init__(self, values: Mapping[str, int], of: Callable[[str, int], int]) -> None:
        self._values = values
        self.of = of  # the share of a contributor with this value

    def __getitem__(self, contributor: str) -> int:
        return self.of(contributor, self._values[contributor])

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


@dataclass(frozen=True)
class Division:
    """Money by part, before negative shares are treated: ``funded == sum(shares) + house + gap + fee``."""

    shares: Shares
    house: int
    gap: int
    fee: int
    funded: int  # what the buyer pays in; negative where a price per nat meets a loss


@dataclass(frozen=True)
class Treated:
    """What a negative share comes to: forgiven (the house bears it), owed (a receivable) and slashed are all of it."""

    forgiven: int
    owed: int
    slashed: int = 0  # from the contributor's stake


def fee_of(amount: int, basis_points: int) -> int:
    """A fee, rounded down."""
    return amount * basis_points // BASIS
