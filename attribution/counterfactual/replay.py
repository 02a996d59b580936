"""Counterfactual values by replays: the reference (DESIGN §3.7).

The game is that of `attribution.counterfactual.game`: θ_T(w) is where the same training ends when contributor c's data
weigh w_c. Its Aumann-Shapley value is the integral along the diagonal from nobody to everybody,

    φ_c = −∫₀¹ ∇ℓ(θ_T(s·1)) · J_c(s) ds,   J_c(s) = ∂θ_T/∂w_c at s·1

(Aumann & Shapley, "Values of Non-Atomic Games", 1974; the diagonal formula with finitely many players: Friedman &
Moulin, "Three methods to share joint costs or surplus", Journal of Economic Theory 87, 1999). The values sum to
ℓ(θ_T(0)) − ℓ(θ_T(1)); what training does with nobody's data, ℓ(θ_0) − ℓ(θ_T(0)), is the house's. Who adds nothing
gets nothing, equals get equal shares, tasks add up, and splitting a contributor into several changes no sum.

Each quadrature node is one replay of the whole training, with the tangents J_c carried along it exactly: through the
gradients forward over reverse, through the optimizer by its own lines. Two more replays, at weights 0 and 1, have none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from attribution.counterfactual.game import Batch, ReplayError
from attribution.counterfactual.nodes import diagonal_nodes
from attribution.counterfactual.replayed import Replayed
from attribution.counterfactual.weighted_training import Batches, End, WeightedTraining
from attribution.errors import OptionError
from attribution.manifest import describe_optimizer, utc
from attribution.objective import Evaluation, Evaluator, Loss
from attribution.options import checked_names
from attribution.record import Floats

__all__ = ["Batch", "ReplayError", "Replayed", "replay"]

PRECONDITIONERS = ("recorded", "own")


def replay(
    model: nn.Module,
    optimizer: Optimizer,
    batches: Batches,
    objective: Loss | Mapping[str, Loss],
    contributors: Sequence[str],
    *,
    nodes: int = 5,
    power: float = 2.0,
    chunk: int | None = None,
    preconditioner: str = "recorded",
    progress: Callable[[int, int], None] | None = None,
) -> Replayed:
    """Aumann-Shapley values of the retraining game, from `nodes` + 2 replays of a training.

    Neither model nor optimizer is changed, nor are random numbers drawn. Gradient clipping, loss scaling and what else
    a loop does between backward and step is not part of the replayed training.

    Args:
        model: at its start. Each replay runs it in the mode in which it is, with the same random numbers.
        optimizer: SGD, Adam or AdamW over its parameters, as it stands before the first step.
        batches: a sequence of `Batch`, or a callable that gives the same ones anew each time; one optimizer step each.
        objective: ``model -> loss``, a scalar in nats, or ``{task: callable}``; evaluated in evaluation mode.
        contributors: their names, which the batches' `who` refers to by index.
        nodes: Gauss-Legendre nodes of the integral, so many replays with tangents.
        power: p of the substitution s = uᵖ, which puts nodes where the data weigh little.
        chunk: how many contributors' tangents are computed at once, all by default. Fewer need less memory; 1 serves
            models that `torch.func.vmap` cannot take.
        preconditioner: of Adam and AdamW. ``"recorded"`` holds that of the run with everybody fixed at every weight.
            ``"own"`` lets each replay have its own: a game whose worth all lies at s = 0, where no node is; to study.
        progress: called with the replays done and how many there are.

    Raises:
        OptionError: for options that make no sense.
        UnsupportedOptimizerError, UnsupportedLayerError: for what cannot be replayed.
        BatchError: for indices that are no contributor's, or a learning rate that is none.
        ReplayError: for losses that are not ``[rows]``, have no gradient or are not finite, naming step and weight.
        ObjectiveError: for an objective that returns no loss.
    """
    names = checked_names(contributors)
    places = diagonal_nodes(nodes, power)
    if preconditioner not in PRECONDITIONERS:
        raise OptionError(f"preconditioner {preconditioner!r} is not one of {', '.join(PRECONDITIONERS)}")
    training = WeightedTraining(model, optimizer, batches, len(names), chunk=chunk, own=preconditioner == "own")
    evaluator = Evaluator(model, training.space, objective)
    if evaluator.minibatched:
        raise OptionError("replays are compared on one validation set: give the whole objective, not Minibatches")
    began = datetime.now(UTC)
    most = len(places) + 2

    def evaluated(done: int, level: float, end: End) -> Evaluation:
        found = evaluator.at(end.parameters)
        if not np.isfinite(found.losses).all() or not bool(torch.isfinite(found.gradients).all()):
            raise ReplayError(
                f"the objective after training at weight {level:g} is not finite: train with a lower learning rate"
            )
        if progress is not None:
            progress(done, most)
        return found

    everybody = evaluated(1, 1.0, training.everybody)
    nobody = evaluated(2, 0.0, training.end(0.0))
    densities: list[Floats] = []
    losses: list[Floats] = []
    for done, s in enumerate(places.at, start=3):
        end = training.end(float(s), tangents=True)
        found = evaluated(done, s, end)
        densities.append(-(end.tangents.double() @ found.gradients.double().T).cpu().numpy())
        losses.append(found.losses)
    return Replayed(
        contributors=names,
        tasks=list(evaluator.tasks),
        nodes=places,
        densities=np.array(densities),
        losses=np.array(losses),
        loss_start=evaluator.losses_at(training.start),
        loss_nobody=nobody.losses,
        loss_everybody=everybody.losses,
        rows=training.rows,
        steps=training.steps,
        details={
            "began_at": utc(began),
            "ended_at": utc(datetime.now(UTC)),
            "method": {"name": "replay", "nodes": nodes, "power": float(power), "preconditioner": preconditioner},
            "optimizer": describe_optimizer(optimizer),
        },
    )
