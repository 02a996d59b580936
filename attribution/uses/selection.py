"""What a selection answers. Needs no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from attribution.uses.budget import Budget
from attribution.uses.curation import Pile, Sample


@dataclass(frozen=True)
class Chosen:
    """What is taken of a contributor's data, and what is left; nothing is known of it where the run has no scores."""

    name: str
    taken: Pile | None
    left: Pile | None
    worth: float  # nats: what is taken scores, or the contributor's value where it is taken whole
    value: float  # nats: what all of it scores, or the contributor's value
    price: str  # of one that the budget counts
    spent: str
    whole: bool  # taken as a whole, where contributors are chosen


@dataclass(frozen=True)
class Selection:
    """What a budget buys; the list is in ``path / "keep.parquet"``, where the run has scores."""

    path: Path
    run: str
    budget: Budget
    unit: str  # what is taken or left: "record", "sample" or "contributor"
    size_is: str  # "tokens" or "samples"
    tasks: list[str]
    contributors: list[Chosen]
    spent: str
    worth: float  # nats, of all that is taken
    bound: float  # nats: no choice within the budget comes to more
    worst: list[Sample]
    best: list[Sample]
    sha256: str | None  # of the keep list

    def json(self) -> dict[str, Any]:
        """The report, as JSON; amounts are text, so that they stay exact."""
        prices = self.budget.prices
        budget = {
            **asdict(self.budget),
            "amount": str(self.budget.amount),
            "prices": None if prices is None else {name: str(price) for name, price in prices.items()},
        }
        del budget["places"]
        return {**asdict(self), "path": str(self.path), "budget": budget, "format": "ghostledger-selection/1"}
