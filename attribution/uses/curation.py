"""What curation is asked, and what it answers. Needs no torch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from attribution.uses.errors import UseError


@dataclass(frozen=True)
class Rule:
    """What to drop: what scores `below` so many nats (0 if nothing is said), or the `share` of all that ranks lowest.

    The share is of tokens, or of samples where the run has no records, and the order is by score for each of them; with
    `standing` by how the score compares with the others of the same steps (`attribution.uses.standing`). Scores are
    weighted over the tasks as the run's are, or those on one `task`. Raises `UseError`.
    """

    below: float | None = None
    share: float | None = None
    standing: bool = False
    task: str | None = None

    def __post_init__(self) -> None:
        if self.below is not None and self.share is not None:
            raise UseError("drop what scores below a threshold, or a share of all: not both")
        if self.share is not None and not 0 < self.share < 1:
            raise UseError(f"the share to drop lies between 0 and 1, it is not {self.share:g}")
        if self.standing and self.share is None:
            raise UseError("a standing is no amount of nats: it goes with a share to drop")
        if self.below is not None and not math.isfinite(self.below):
            raise UseError(f"the threshold must be a number, not {self.below}")

    def __str__(self) -> str:
        what = f"below {self.least:g} nats" if self.share is None else f"the {self.share:.1%} that score least"
        if self.standing:
            what += " beside the others of their steps"
        return what if self.task is None else f"{what} on task {self.task!r}"

    @property
    def least(self) -> float:
        """The threshold, where there is one."""
        return self.below or 0.0


@dataclass(frozen=True)
class Pile:
    """Units of one contributor that are kept, or dropped. `size` counts tokens, or samples where there are none."""

    units: int = 0
    unscored: int = 0  # never seen by the run; kept
    size: int = 0
    score: float = 0.0  # nats, and its two parts
    helpful: float = 0.0
    harmful: float = 0.0
    tasks: tuple[float, ...] = ()  # nats on each task, unweighted


@dataclass(frozen=True)
class Contributor:
    """What is kept and what would be dropped of a contributor's data."""

    name: str
    kept: Pile
    dropped: Pile


@dataclass(frozen=True)
class Sample:
    """A unit to read: `density` is its score for each token (or sample), nats; the text where it is at hand.

    The standing, in standard deviations of the scores of a step, is there where the rule goes by it.
    """

    contributor: str
    dataset: str | None
    sample: int | str
    size: int
    score: float
    density: float
    kept: bool
    text: str | None = None
    standing: float | None = None


@dataclass(frozen=True)
class Curation:
    """What a rule makes of a run's scores; the list is in ``path / "keep.parquet"``."""

    path: Path
    run: str
    rule: Rule
    unit: str  # "record" or "sample"
    size_is: str  # "tokens" or "samples"
    tasks: list[str]
    contributors: list[Contributor]
    worst: list[Sample]
    best: list[Sample]
    sha256: str  # of the keep list

    def json(self) -> dict[str, Any]:
        """The report, as JSON."""
        return {**asdict(self), "path": str(self.path), "format": "ghostledger-curation/1"}
