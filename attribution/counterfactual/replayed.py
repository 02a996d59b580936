"""What replays leave behind: values by retraining with less of everybody's data, and what they rest on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attribution.counterfactual.nodes import Nodes
from attribution.manifest import versions
from attribution.options import checked_weights
from attribution.record import Floats, Integers, RunRecord, Steps
from attribution.steps import frozen_array


@dataclass(frozen=True, eq=False)
class Replayed:
    """Aumann-Shapley values of the retraining game, nats by task; positive = lowered that task's loss."""

    contributors: list[str]
    tasks: list[str]
    nodes: Nodes
    densities: Floats  # [nodes, contributors, tasks]: −∇ℓ(θ_T) · ∂θ_T/∂w_c at each node
    losses: Floats  # [nodes, tasks], of the models trained at each node
    loss_start: Floats  # [tasks], before training
    loss_nobody: Floats  # [tasks], after training at weight 0
    loss_everybody: Floats  # [tasks], after training at weight 1
    rows: Integers  # [contributors], in all batches
    steps: int
    details: Mapping[str, Any]  # how: optimizer, method, times, versions

    @property
    def values(self) -> Floats:
        """φ_c, the densities' quadrature, float64 [contributors, tasks], nats."""
        return frozen_array(np.einsum("n,nkt->kt", self.nodes.shares, self.densities), np.float64)

    @property
    def improvement(self) -> Floats:
        """What the training with everybody did to the losses, float64 [tasks], nats."""
        return frozen_array(self.loss_start - self.loss_everybody, np.float64)

    @property
    def house(self) -> Floats:
        """What the training does with nobody's data, float64 [tasks], nats: decay, and rows of nobody."""
        return frozen_array(self.loss_start - self.loss_nobody, np.float64)

    @property
    def gap(self) -> Floats:
        """``improvement - values.sum(0) - house``, float64 [tasks], nats: what the nodes are too few to see."""
        return frozen_array(self.improvement - self.values.sum(axis=0) - self.house, np.float64)

    def as_record(
        self, *, task_weights: Mapping[str, float] | None = None, details: Mapping[str, Any] | None = None
    ) -> RunRecord:
        """The values as a run record, from which a ledger can settle: one segment, the whole training.

        Args:
            task_weights: weight of each task, by name; they must sum to 1. Equal by default.
            details: what else the manifest is to say, such as the fingerprints of ``data`` and ``objective``.

        Raises `OptionError` for weights that do not fit the tasks, `RecordError` for details that a record refuses.
        """
        return RunRecord(
            contributors=self.contributors,
            tasks=self.tasks,
            weights=checked_weights(self.tasks, task_weights),
            steps=Steps(
                loss_before=self.loss_start[None],
                loss_after=self.loss_everybody[None],
                values=self.values[None],
                house=self.house[None],
                gap=self.gap[None],
                nodes=np.array([len(self.nodes)]),
                rows=self.rows[None],
                length=np.array([self.steps]),
            ),
            details={"versions": versions(), **self.details, **(details or {})},
        )
