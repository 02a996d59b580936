"""What is run: at full size for docs/fidelity.md, and in a minute to see that everything still works."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product

from fidelity.training import Case

# Learning rates: one at which the run is calm, one at which it is rough.
RATES = {
    "digits": {"SGD": (0.05, 0.2), "momentum": (0.02, 0.05), "AdamW": (0.001, 0.003)},
    "images": {"SGD": (0.05, 0.2), "momentum": (0.01, 0.03), "AdamW": (0.001, 0.003)},
    "text": {"SGD": (0.1, 0.3), "momentum": (0.02, 0.05), "AdamW": (0.001, 0.002)},
}
BATCH = {"digits": 64, "images": 64, "text": 16}


@dataclass(frozen=True)
class Size:
    """How much of everything; by setting where settings differ."""

    settings: tuple[str, ...] = ("digits", "images", "text")
    optimizers: tuple[str, ...] = ("SGD", "momentum", "AdamW")
    rates: tuple[int, ...] = (0, 1)  # which of `RATES`
    scenarios: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: {
            "digits": ("quality", "mixed", "class mix", "class alone"),
            "images": ("mixed", "class mix"),
            "text": ("domains",),
        }
    )
    gap_steps: Mapping[str, int] = field(default_factory=lambda: {"digits": 60, "images": 50, "text": 50})
    gap_seeds: Mapping[str, int] = field(default_factory=lambda: {"digits": 4, "images": 2, "text": 2})
    game_steps: Mapping[str, int] = field(default_factory=lambda: {"digits": 40, "images": 12, "text": 6})
    steps: Mapping[str, int] = field(default_factory=lambda: {"digits": 100, "images": 60, "text": 200})
    # Of in-run values; retrainings have as many others.
    seeds: Mapping[str, int] = field(default_factory=lambda: {"digits": 4, "images": 3, "text": 2})
    appeal_seeds: Mapping[str, int] = field(default_factory=lambda: {"digits": 4, "images": 3, "text": 4})
    halves: Mapping[str, int] = field(default_factory=lambda: {"digits": 30, "images": 30, "text": 20})
    epochs: int = 3
    flip_seeds: int = 3

    def updates(self, setting: str) -> list[tuple[str, float]]:
        """Optimizers, each with its learning rates."""
        return [(name, rate) for name in self.optimizers for rate in (RATES[setting][name][i] for i in self.rates)]

    def cases(self, steps: Mapping[str, int], seeds: Mapping[str, int]) -> list[Case]:
        """Equal parts: one case for each setting, optimizer, learning rate and seed."""
        return [
            Case(setting, "equal", *update, steps[setting], BATCH[setting], seed)
            for setting in self.settings
            for update, seed in product(self.updates(setting), range(seeds[setting]))
        ]


FULL = Size()
QUICK = Size(
    settings=("digits",),
    optimizers=("AdamW",),
    rates=(1,),
    scenarios={"digits": ("mixed",)},
    gap_steps={"digits": 2},
    gap_seeds={"digits": 1},
    game_steps={"digits": 2},
    steps={"digits": 2},
    seeds={"digits": 2},
    appeal_seeds={"digits": 2},
    halves={"digits": 4},
    epochs=1,
    flip_seeds=1,
)
