"""What may be bought, and for how much: exact amounts, whole numbers inside. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, get_args

from attribution.uses.errors import UseError

Unit = Literal["records", "tokens", "contributors"]


@dataclass(frozen=True)
class Budget:
    """How much may be spent, and what is counted: records (or samples), tokens, or whole contributors.

    Each costs 1, or what its contributor asks for one: `prices`, in the money of the `amount`. With `fill`, what scores
    0 or less is taken too, the best first, as long as there is budget left; else the rest of it is not spent. Scores
    are weighted over the tasks as the run's are, or those on one `task`. Raises `UseError` for what makes no sense, a
    float among the amounts included: they would not be exact.
    """

    amount: Decimal | int
    unit: Unit = "tokens"
    prices: Mapping[str, Decimal | int] | None = None
    fill: bool = False
    task: str | None = None
    places: int = field(init=False, default=0)  # decimals of all amounts

    def __post_init__(self) -> None:
        if self.unit not in get_args(Unit):
            raise UseError(f"a budget counts {', '.join(get_args(Unit))}, not {self.unit}")
        amounts = {
            "the budget": self.amount,
            **{f"the price of {name!r}": p for name, p in (self.prices or {}).items()},
        }
        for what, amount in amounts.items():
            if isinstance(amount, float) or not isinstance(amount, (int, Decimal)):
                raise UseError(f"{what} is not exact: give a Decimal or a whole number, not {amount!r}")
            if not Decimal(amount).is_finite() or Decimal(amount).is_signed():
                raise UseError(f"{what} must be 0 or more, not {amount}")
        if self.fill and self.unit == "contributors":
            raise UseError("contributors are chosen exactly, for the most value: there is nothing to fill up with")
        places = max(_places(amount) for amount in amounts.values())
        object.__setattr__(self, "places", places)

    def __str__(self) -> str:
        what = f"{self.amount} {self.unit}" if self.prices is None else f"{self.amount}, at a price for the {self.unit}"
        return what if self.task is None else f"{what}, for task {self.task!r}"

    @property
    def whole(self) -> int:
        """The budget in whole units of the last decimal."""
        return self.minor(self.amount)

    def costs(self, contributors: Sequence[str]) -> list[int]:
        """What one of each contributor's costs, in the same units. Raises `UseError` for names that do not fit."""
        if self.prices is None:
            return [self.minor(1)] * len(contributors)
        for name in self.prices:
            if name not in contributors:
                raise UseError(f"a price is given for {name!r}, who takes no part in the run")
        for name in contributors:
            if name not in self.prices:
                raise UseError(f"contributor {name!r} has no price: give one for everybody, 0 where it is free")
        return [self.minor(self.prices[name]) for name in contributors]

    def minor(self, amount: Decimal | int) -> int:
        """An amount in whole units of the last decimal."""
        # From its digits: Decimal's own arithmetic rounds to 28 of them.
        _, digits, exponent = Decimal(amount).as_tuple()
        assert isinstance(exponent, int)
        scaled: int = int("".join(map(str, digits))) * 10 ** (exponent + self.places)
        return scaled

    def text(self, minor: int) -> str:
        """Whole units of the last decimal, as an amount."""
        digits = str(minor).rjust(self.places + 1, "0")
        return f"{digits[: -self.places]}.{digits[-self.places :]}" if self.places else digits


def _places(amount: Decimal | int) -> int:
    exponent = Decimal(amount).as_tuple().exponent
    assert isinstance(exponent, int)
    return max(0, -exponent)
