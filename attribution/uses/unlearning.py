"""Unlearning on any model: take back a part of what a contributor did to the parameters, then repair on the rest.

With θ_T the parameters with which a metered run ended and D_c = Σ_t Δ_{t,c} what contributor c's gradients did to them
over the run (`attribution.displacements`), the estimate is θ_T − α·D_c. It keeps everybody else's displacements as they
were, although the others' gradients would have been other ones without c; hence the strength α, and the repair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from torch import nn
from torch.optim import SGD

from attribution.displacements import Displacements
from attribution.objective import Evaluator, Loss
from attribution.parameters import ParameterSpace, fingerprint
from attribution.record import Floats
from attribution.uses.errors import UseError

STRENGTH = 0.1  # docs/uses.md: the whole is far too much wherever others push against what is taken back


@dataclass(frozen=True)
class Forgotten:
    """What taking back a contributor's displacement did to each task's validation loss, float64 ``[tasks]``, nats."""

    contributor: str
    strength: float
    tasks: list[str]
    before: Floats  # the losses at θ_T
    slope: Floats  # −α ∇ℓ(θ_T)·D_c: by how much they were to change, to first order
    estimate: Floats  # the losses at θ_T − α·D_c
    after: Floats  # and after the repair
    parameters_before: str  # fingerprints of all parameters, as records have them
    parameters_estimate: str
    parameters_after: str


def forget(
    model: nn.Module,
    displacements: Displacements,
    contributor: str,
    objective: Loss | Mapping[str, Loss],
    repair: Callable[[], None] = lambda: None,
    *,
    strength: float = STRENGTH,
) -> Forgotten:
    """Move `model`, which stands where the run ended, back by `strength` times the contributor's displacement.

    Then call `repair`, which is to train the model a little on the others' data. `objective` is as the meter takes it.
    Raises `UseError` for a contributor who took no part, a strength that makes no sense, or losses that do not survive
    it, and `RecordError` where the model is not the one that the run ended with.
    """
    checked_strength(strength)
    if contributor not in displacements.contributors:
        raise UseError(f"{contributor!r} took no part in the run, only {', '.join(displacements.contributors)}")
    end = displacements.flat(model)
    displacements.check_end(end)
    own = dict(model.named_parameters())
    space = ParameterSpace(model, SGD([own[name] for name in displacements.parameters], lr=0.0))
    evaluator = Evaluator(model, space, objective)
    here, first = evaluator.here(), fingerprint(model)
    away = displacements.of(contributor).to(space.dtype).to(space.device)
    slope = -strength * (here.gradients @ away).double().cpu().numpy()
    displacements.apply(model, end - strength * displacements.of(contributor))
    estimate, second = evaluator.losses_at(space.snapshot()), fingerprint(model)
    repair()
    after = evaluator.losses_at(space.snapshot())
    for where, losses in (("the estimate", estimate), ("the repaired model", after)):
        if not np.isfinite(losses).all():
            raise UseError(f"the loss of {where} is not finite: take back less, or repair at a lower learning rate")
    return Forgotten(
        contributor=contributor,
        strength=strength,
        tasks=list(evaluator.tasks),
        before=here.losses,
        slope=slope,
        estimate=estimate,
        after=after,
        parameters_before=first,
        parameters_estimate=second,
        parameters_after=fingerprint(model),
    )


def checked_strength(strength: float) -> float:
    """The strength itself. Raises `UseError` unless it lies between 0, which takes nothing back, and 1, the whole."""
    if not 0 <= strength <= 1:
        raise UseError(f"the strength lies between 0 and 1, the whole displacement; it is not {strength:g}")
    return strength
