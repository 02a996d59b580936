"""What a contributor's strategy does to its share of the payout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from fidelity.materials import Materials, materials
from fidelity.training import Case, by_path, metered

PATHS: dict[int | str, str] = {1: "step path", "run": "run path"}
HONEST = "honest"
ME, VICTIM, IDENTITIES = 0, 1, 5


def _flips(rows: Materials, mine: torch.Tensor, draw: torch.Generator) -> Materials:
    half = mine[torch.randperm(len(mine), generator=draw)[: len(mine) // 2]]
    targets = rows.targets.clone()
    targets[half] = (targets[half] + torch.randint(1, 10, (len(half),), generator=draw)) % 10
    return replace(rows, targets=targets)


def _copies(rows: Materials, mine: torch.Tensor, draw: torch.Generator) -> Materials:
    theirs = (rows.owner == VICTIM).nonzero().reshape(-1)[: len(mine)]
    inputs, targets = rows.inputs.clone(), rows.targets.clone()
    inputs[mine[: len(theirs)]], targets[mine[: len(theirs)]] = inputs[theirs], targets[theirs]
    return replace(rows, inputs=inputs, targets=targets)


def _adds_copies(rows: Materials, mine: torch.Tensor, draw: torch.Generator) -> Materials:
    theirs = (rows.owner == VICTIM).nonzero().reshape(-1)
    return _with(rows, rows.inputs[theirs], rows.targets[theirs])


def _splits(rows: Materials, mine: torch.Tensor, draw: torch.Generator) -> Materials:
    owner, first = rows.owner.clone(), len(rows.contributors)
    for number, part in enumerate(mine.chunk(IDENTITIES)[1:]):
        owner[part] = first + number
    return replace(rows, owner=owner, contributors=[*rows.contributors, *(f"me {n}" for n in range(1, IDENTITIES))])


def _tunes(rows: Materials, mine: torch.Tensor, draw: torch.Generator) -> Materials:
    """Each image half-way to the nearest validation image of its label."""
    inputs = rows.inputs.clone()
    for row in mine.tolist():
        alike = rows.held_inputs[rows.held_targets == rows.targets[row]]
        nearest = alike[((alike - inputs[row]) ** 2).flatten(1).sum(dim=1).argmin()]
        inputs[row] = (inputs[row] + nearest) / 2
    return replace(rows, inputs=inputs)


def _leaks(rows: Materials, mine: torch.Tensor, draw: torch.Generator) -> Materials:
    known = torch.randperm(len(rows.held_inputs), generator=draw)[: len(mine)]
    inputs, targets = rows.inputs.clone(), rows.targets.clone()
    inputs[mine[: len(known)]], targets[mine[: len(known)]] = rows.held_inputs[known], rows.held_targets[known]
    return replace(rows, inputs=inputs, targets=targets)


def _withholds(rows: Materials, mine: torch.Tensor, draw: torch.Generator) -> Materials:
    kept = torch.ones(len(rows.owner), dtype=torch.bool)
    kept[mine[len(mine) // 2 :]] = False
    return replace(
        rows, inputs=rows.inputs[kept], targets=rows.targets[kept], clean=rows.clean[kept], owner=rows.owner[kept]
    )


def _adds_junk(rows: Materials, mine: torch.Tensor, draw: torch.Generator) -> Materials:
    shuffled = torch.stack([row[torch.randperm(len(row), generator=draw)] for row in rows.inputs[mine].flatten(1)])
    labels = torch.randint(0, 10, (len(mine),), generator=draw)
    return _with(rows, shuffled.reshape(rows.inputs[mine].shape), labels)


def _with(rows: Materials, inputs: torch.Tensor, targets: torch.Tensor) -> Materials:
    owner = torch.cat([rows.owner, torch.full((len(targets),), ME)])
    joined = torch.cat([rows.targets, targets])
    return replace(rows, inputs=torch.cat([rows.inputs, inputs]), targets=joined, clean=joined, owner=owner)


STRATEGIES: dict[str, tuple[Callable[..., Materials] | None, str]] = {
    HONEST: (None, ""),
    "withholds half": (_withholds, ""),
    "flips half of the labels": (_flips, "floor, carry or slash; disputes"),
    "adds as much junk": (_adds_junk, "stakes and slash; curate before settling"),
    "copies another's rows": (_copies, "duplicates refused or grouped"),
    "adds copies of another's rows": (_adds_copies, "duplicates refused or grouped; a cap"),
    "splits into five names": (_splits, "carry or a group: the floor forgives names below 0"),
    "tunes images to the validation set": (_tunes, "a fresh, hidden validation set"),
    "hands in validation rows": (_leaks, "a hidden validation set; overlap with it refused"),
}


@dataclass(frozen=True)
class StrategyCase(Case):
    """Eight contributors with equal parts, of whom the first follows a strategy."""

    strategy: str = HONEST

    @property
    def materials(self) -> Materials:
        return _played(self.setting, self.strategy)


@cache
def _played(setting: str, strategy: str) -> Materials:
    found = materials(setting, "equal")
    rows = replace(found, targets=found.clean, contributors=["me", *(f"other {c}" for c in range(1, 8))])
    change, _ = STRATEGIES[strategy]
    mine = (rows.owner == ME).nonzero().reshape(-1)
    return rows if change is None else change(rows, mine, torch.Generator().manual_seed(0))


def shares(case: StrategyCase) -> dict[str, Any]:
    """The strategist's share of the positive values, all names together, by both paths."""
    record = metered(case, every=list(PATHS))
    mine = np.array([name.startswith("me") for name in record.contributors])
    found = {}
    for path, valuation in by_path(record, PATHS).items():
        paid = np.maximum(valuation.values[:, 0], 0)
        found[path] = float(paid[mine].sum() / paid.sum())
    return found
