"""What it takes to carry tangents through AdamW: ways of doing it, with exact curvature, those that fail included."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attribution.counterfactual.game import Batch, WeightedLoss
from attribution.objective import Evaluator
from attribution.parameters import ParameterSpace
from fidelity.absence import correlation
from fidelity.counterfactual_cases import Amount
from fidelity.counterfactual_truth import Truth
from fidelity.runner import Runner
from fidelity.statistics import luck
from fidelity.tables import spread, table
from fidelity.training import Case


@dataclass(frozen=True)
class Way:
    """A recursion for the tangents of AdamW's steps."""

    name: str
    second_moment: bool  # its tangents too; else the preconditioner is held fixed
    momentum: bool  # of the tangents; else they take each gradient at once
    parts: int = 1  # explicit steps, each with a part of a step's curvature
    memory: float = 1.0  # what is left of a tangent a step later, besides


WAYS = [
    Way("preconditioner held, no momentum", second_moment=False, momentum=False),
    Way("the same in 4 explicit parts a step", second_moment=False, momentum=False, parts=4),
    Way("preconditioner held", second_moment=False, momentum=True),
    Way("the same, a memory of 20 steps", second_moment=False, momentum=True, memory=0.95),
    Way("second moment differentiated too", second_moment=True, momentum=True),
    Way("the same, a memory of 20 steps", second_moment=True, momentum=True, memory=0.95),
]


def carried(case: Case, way: int) -> dict[str, Any]:
    """One AdamW run with tangents carried as `WAYS` says: ``values``, ``reached`` and ``length``.

    What the tangents themselves come to is ``reached``, of the improvement; the rest is divided by progress, as the
    meter does. ``length`` is that of the longest tangent at the end beside that of the whole way.
    """
    how = WAYS[way]
    model, optimizer = case.start()
    space, group = ParameterSpace(model, optimizer), optimizer.param_groups[0]
    loss, evaluator = WeightedLoss(model, space), Evaluator(model, space, case.validation)
    beta1, beta2 = group["betas"]
    count = len(case.materials.contributors)
    place, ones = space.snapshot(), torch.ones(case.batch, dtype=space.dtype)
    origin, before = place.clone(), evaluator.at(place)
    first, second = space.zeros(), space.zeros()
    tangents, first_tangents, second_tangents = space.zeros(count), space.zeros(count), space.zeros(count)
    progress, values, reached = np.zeros(count), np.zeros(count), 0.0
    start = float(before.losses[0])
    for step, rows in enumerate(case.batches(), start=1):
        who = case.materials.owner[rows]
        batch = Batch(who, case.row_losses(rows))
        _, gradient, own = loss.tangents(place, batch, ones, who, torch.zeros_like(tangents), None)
        second.lerp_(gradient**2, 1 - beta2)
        root = (second / (1 - beta2**step)).sqrt()
        scale = case.rate / (root + group["eps"])
        first.lerp_(gradient, 1 - beta1)
        way_of_data = -scale * first / (1 - beta1**step)
        kept = tangents * (1 - case.rate * group["weight_decay"]) * how.memory
        if how.momentum:
            changed = _change(loss, place, batch, ones, who, tangents) + own
            first_tangents.lerp_(changed, 1 - beta1)
            second_tangents.lerp_(2 * gradient * changed, 1 - beta2)
            tangents = kept - scale * first_tangents / (1 - beta1**step)
            if how.second_moment:
                slope = torch.where(root > 0, second_tangents / (2 * root * (1 - beta2**step)), 0.0)
                tangents -= way_of_data * slope * scale / case.rate
        else:
            tangents = kept - scale * own
            for _ in range(how.parts):
                tangents -= scale * _change(loss, place, batch, ones, who, tangents) / how.parts
        following = place + way_of_data - case.rate * group["weight_decay"] * place
        after = evaluator.at(following)
        middle = evaluator.at((place + following) / 2)
        average = ((before.gradients + 4 * middle.gradients + after.gradients) / 6)[0]
        part = -(tangents @ average).numpy() / step
        progress -= (own @ way_of_data).numpy()
        rest = -float(average @ way_of_data) - part.sum()
        values += part + rest * progress / progress.sum()
        reached += part.sum()
        place, before = following, after
    improvement = start - float(before.losses[0])
    length = float(tangents.norm(dim=1).max() / (place - origin).norm())
    return {"values": values.tolist(), "reached": reached / improvement, "length": length}


def report(run: Runner, amount: Amount, truth: dict[Case, Truth]) -> str:
    """Each way on the cases of digits with AdamW, against halves whose rows were struck."""
    run.title, rows = "tangents of AdamW", []
    for case, judge in truth.items():
        if (case.setting, case.optimizer) != ("digits", "AdamW") or case.scenario not in amount.adam_scenarios:
            continue
        seeds = [replace(case, seed=seed) for seed in range(amount.adam_seeds)]
        for number, way in enumerate(WAYS):
            found = run(carried, [(seed, {"way": number}) for seed in seeds])
            values = np.array([one["values"] for one in found])
            rows.append(
                [
                    case.scenario,
                    way.name,
                    spread([one["reached"] for one in found]),
                    f"{np.median([one['length'] for one in found]):.1f}",
                    "{:.2f} / {:.2f}".format(*luck(values)),
                    correlation(values, judge.members, judge.halves),
                    f"{values.min():.2f}",
                ]
            )
    columns = [
        "contributors differ by",
        "tangents of AdamW, exact curvature",
        "sum, of the improvement",
        "longest tangent, of the way",
        "luck / differences",
        "correlation with halves, struck",
        "least value",
    ]
    return (
        "Ways of carrying tangents through AdamW's steps, digits. *Sum*: what the tangents alone come to, before "
        "progress divides the rest, which is all of it where a common weight changes nothing.\n\n"
        + table(columns, rows)
    )


def _change(loss: WeightedLoss, place: Tensor, batch: Batch, ones: Tensor, who: Tensor, tangents: Tensor) -> Tensor:
    """How the gradient changes along the tangents ``[K, P]``, its own weights aside."""
    return loss.tangents(place, batch, ones, torch.full_like(who, -1), tangents, None)[2]
