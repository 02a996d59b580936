"""Values of a finished run by an objective that nobody thought of while it went (DESIGN §3.6).

With the run's start θ_0, its end θ_T and ``θ_T − θ_0 = Σ_c D_c + house`` kept (`attribution.displacements`), the value
of contributor c for any loss ℓ is that of one straight path over the whole run::

    φ_c = −[∫₀¹ ∇ℓ(θ_0 + s(θ_T − θ_0)) ds] · D_c,        Σ_c φ_c + house + gap = ℓ(θ_0) − ℓ(θ_T)

What the meter gives with ``every="run"``: an Aumann-Shapley value, efficient, null for who supplied nothing, neutral to
splitting. It costs some gradients of ℓ, and no training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import SGD

from attribution.displacements import Displacements
from attribution.errors import OptionError, RecordError
from attribution.objective import Evaluation, Evaluator, Loss
from attribution.parameters import ParameterSpace
from attribution.path import DEEPEST_BISECTION, GapBudget, StraightPath
from attribution.record import Step


def value_afterwards(
    model: nn.Module,
    displacements: Displacements,
    objective: Loss | Mapping[str, Loss],
    *,
    tolerance: float = 1e-3,
    advance: Callable[[int], None] = lambda evaluations: None,
) -> Step:
    """What each contributor of a run did to `objective`, as one segment over the whole of it: values ``[K, tasks]``.

    `model` stands at the run's end, and is left there; the objective is what `InRunShapley` takes. The path is refined
    until the gap is within `tolerance` of the improvement, or halving it five times was not enough. `advance` is told
    how many more times the gradients were computed. Rows are not known here: 0 each. Raises `OptionError` for a
    tolerance that is none, `ObjectiveError`, and `RecordError` for a model that the displacements do not lead to, or
    where a loss is not finite on the way.
    """
    if not (math.isfinite(tolerance) and tolerance > 0):
        raise OptionError(f"the tolerance must be a number above 0, not {tolerance:g}")
    own = dict(model.named_parameters())
    if missing := [name for name in displacements.parameters if name not in own]:
        raise RecordError(f"the model has no parameter {missing[0]!r}, which the run moved")
    space = ParameterSpace(model, SGD([own[name] for name in displacements.parameters], lr=0.0))
    end = space.snapshot().to(displacements.start.dtype)
    if {place.name: tuple(place.parameter.shape) for place in space.places} != dict(displacements.parameters):
        raise RecordError("the model's parameters are not those that the run moved")
    displacements.check_end(end.cpu())
    evaluator, start = Evaluator(model, space, objective), displacements.start.to(space.device)
    evaluator.frozen_too = True

    def evaluate(flat: Tensor) -> Evaluation:
        found = evaluator.at(flat)
        advance(1)
        if not (np.isfinite(found.losses).all() and bool(torch.isfinite(found.gradients).all())):
            raise RecordError("the objective is not finite somewhere on the run's way: it has no values by it")
        return found

    before, after = evaluate(start), evaluate(end)
    budget = GapBudget(tolerance, len(evaluator.tasks), torch.finfo(space.dtype).eps)
    path = StraightPath(before, after, start, end, evaluate)
    average = path.adaptive(budget.allowance(before.losses, after.losses), DEEPEST_BISECTION)
    gradients = average.gradients.cpu().double()
    values = -np.array([(gradients @ part.double()).tolist() for part in displacements.parts])
    house = -(gradients @ displacements.house.double()).numpy()
    gap = before.losses - after.losses - values.sum(axis=0) - house
    rows = np.zeros(len(displacements.contributors), dtype=np.int64)
    return Step(0, before.losses, after.losses, values, house, gap, average.nodes, rows)
