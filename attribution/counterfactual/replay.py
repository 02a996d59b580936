"""Counterfactual values by replays: the reference (DESIGN §3.7).

The game is that of `attribution.counterfactual.game`: θ_T(w) is where the same training ends when contributor c's data
weigh w_c. Its Aumann-Shapley value is the integral along the diagonal from nobody to everybody,

    φ_c = −∫₀¹ ∇ℓ(θ_T(s·1)) · J_c(s) ds,   J_c(s) = ∂θ_T/∂w_c at s·1

(Aumann & Shapley, "Values of Non-Atomic Games", 1974; the diagonal formula with finitely many players: Friedman &
Moulin, "Three methods to share joint costs or surplus", Journal of Economic Theory 87, 1999). The values sum to
ℓ(θ_T(0)) − ℓ(θ_T(1)); what training does with nobody's data, ℓ(θ_0) − ℓ(θ_T(0)), is the house's. Who adds nothing
gets nothing, equals get equal shares, tasks add up, and splitting a contributor into several changes no sum.

Each quadrature node is one replay of the whole training, with the tangents J_c carried along it exactly: through the
gradients forward over reverse, through the optimizer by its own lines. A few more replays have none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal

import numpy as np
from torch import nn
from torch.optim import Optimizer

from attribution.counterfactual.game import Batch, ReplayError
from attribution.counterfactual.nodes import checked_count, peak_nodes, pilot_weights, power_nodes, steepest
from attribution.counterfactual.replayed import Replayed
from attribution.counterfactual.weighted_training import Batches, WeightedTraining
from attribution.errors import OptionError
from attribution.manifest import describe_optimizer, utc
from attribution.objective import Evaluator, Loss
from attribution.options import checked_names
from attribution.parameters import fingerprint
from attribution.record import Floats

__all__ = ["Batch", "ReplayError", "Replayed", "replay"]

PRECONDITIONERS = ("recorded", "own")
ENDS = np.array([0.0, 1.0])


def replay(
    model: nn.Module,
    optimizer: Optimizer,
    batches: Batches,
    objective: Loss | Mapping[str, Loss],
    contributors: Sequence[str],
    *,
    nodes: int = 16,
    substitution: float | Literal["losses"] = "losses",
    chunk: int | None = None,
    preconditioner: str = "recorded",
    progress: Callable[[int, int], None] | None = None,
) -> Replayed:
    """Aumann-Shapley values of the retraining game, from `nodes` replays of a training with tangents, and some without.

    Neither model nor optimizer is changed, nor are random numbers drawn. Gradient clipping, loss scaling and what else
    a loop does between backward and step is not part of the replayed training.

    Args:
        model: at its start. Each replay runs it in the mode in which it is, with the same random numbers.
        optimizer: SGD, Adam or AdamW over its parameters, as it stands before the first step.
        batches: a sequence of `Batch`, or a callable that gives the same ones anew each time; one optimizer step each.
        objective: ``model -> loss``, a scalar in nats, or ``{task: callable}``; evaluated in evaluation mode.
        contributors: their names, which the batches' `who` refers to by index.
        nodes: Gauss-Legendre nodes of the integral, so many replays with tangents.
        substitution: where nodes go. ``"losses"`` looks at the losses after some replays without tangents, and crowds
            them where these change most; a number p is the substitution s = uᵖ, 1 for none.
        chunk: how many contributors' tangents are computed at once, all by default. Fewer need less memory; 1 serves
            models that `torch.func.vmap` cannot take.
        preconditioner: of Adam and AdamW. ``"recorded"`` holds that of the run with everybody fixed at every weight.
            ``"own"`` lets each replay have its own: a game whose worth all lies at s = 0, where no node is; to study.
        progress: called with the replays done and how many there are.

    Raises:
        OptionError: for options that make no sense.
        UnsupportedOptimizerError: for all but SGD, Adam and AdamW.
        BatchError: for indices that are no contributor's, or a learning rate that is none.
        ReplayError: for losses that are not ``[rows]``, have no gradient or are not finite, naming step and weight;
            for batch normalisation in training mode and other layers that write to their buffers.
        ObjectiveError: for an objective that returns no loss.
    """
    names = checked_names(contributors)
    checked_count(nodes)
    if preconditioner not in PRECONDITIONERS:
        raise OptionError(f"preconditioner {preconditioner!r} is not one of {', '.join(PRECONDITIONERS)}")
    places = None if substitution == "losses" else power_nodes(nodes, substitution)
    pilots = pilot_weights() if places is None else ENDS
    training = WeightedTraining(model, optimizer, batches, len(names), chunk=chunk, own=preconditioner == "own")
    began = datetime.now(UTC)
    everybody = training.everybody  # before the objective is evaluated: it finds what cannot be replayed
    diagonal = _Diagonal(training, Evaluator(model, training.space, objective), progress, nodes + len(pilots))
    losses = np.array([diagonal.losses(s) for s in pilots.tolist()])
    if places is None:
        places = peak_nodes(nodes, *steepest(pilots, losses))
    looks = [diagonal.look(s) for s in places.at.tolist()]
    with training.space.at(everybody.parameters):
        final = fingerprint(model)
    return Replayed(
        contributors=names,
        tasks=diagonal.tasks,
        nodes=places,
        densities=np.array([density for density, _ in looks]),
        losses=np.array([losses for _, losses in looks]),
        loss_start=diagonal.start,
        loss_nobody=losses[0],
        loss_everybody=losses[-1],
        rows=training.rows,
        steps=training.steps,
        details={
            "began_at": utc(began),
            "ended_at": utc(datetime.now(UTC)),
            "method": {
                "name": "replay",
                "nodes": places.at.tolist(),
                "substitution": dict(places.substitution),
                "preconditioner": preconditioner,
            },
            "optimizer": describe_optimizer(optimizer),
            "parameters": {"count": training.space.size, "initial": fingerprint(model), "final": final},
        },
    )


class _Diagonal:
    """The objective where training ends with everybody's data at the same weight."""

    def __init__(
        self,
        training: WeightedTraining,
        evaluator: Evaluator,
        progress: Callable[[int, int], None] | None,
        most: int,
    ) -> None:
        if evaluator.minibatched:
            raise OptionError("replays are compared on one validation set: give the whole objective, not Minibatches")
        self._training, self._evaluator = training, evaluator
        self._progress, self._done, self._most = progress, 0, most
        self.tasks = list(evaluator.tasks)
        self.start = self._finite("before training", evaluator.at(training.start).losses)

    def losses(self, s: float) -> Floats:
        """The losses ``[tasks]`` at the end of the training at weight s."""
        end = self._training.everybody if s == 1 else self._training.end(s)
        found = self._finite(f"after training at weight {s:g}", self._evaluator.losses_at(end.parameters))
        self._report()
        return found

    def look(self, s: float) -> tuple[Floats, Floats]:
        """What each contributor's weight does there, −∇ℓ · J_c ``[K, tasks]``, and the losses ``[tasks]``."""
        end = self._training.end(s, tangents=True)
        found = self._evaluator.at(end.parameters)
        density: Floats = -(end.tangents.double() @ found.gradients.double().T).cpu().numpy()
        self._finite(f"after training at weight {s:g}", density.sum(axis=0))
        self._report()
        return density, self._finite(f"after training at weight {s:g}", found.losses)

    def _finite(self, when: str, figures: Floats) -> Floats:
        for task, figure in zip(self.tasks, figures, strict=True):
            if not np.isfinite(figure):
                raise ReplayError(f"task {task!r}: the loss or its gradient {when} is not finite: train it more gently")
        return figures

    def _report(self) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._most)
