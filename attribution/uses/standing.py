"""How blocks did beside the others of their steps: scores without when they were made. Needs no torch.

Early in a run every score is large, late ones are small, so that a sum over the run says first when a block was seen.
A standing is (score − mean) / standard deviation, both of the scores of the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from attribution.scores import read_scores
from attribution.steps import Floats, Integers


@dataclass(frozen=True)
class Standings:
    """The mean and the standard deviation of the scores of each step, weighted over the tasks. Memory: by step."""

    weights: Floats  # [tasks]
    mean: Floats  # [steps]
    deviation: Floats  # [steps]

    @classmethod
    def of(cls, scores: Path, weights: Sequence[float]) -> Standings:
        """Read the scores once. Raises `RecordError` for a file that holds none."""
        tasks = np.array(weights)
        sums: Floats = np.zeros((3, 0))  # how many, their sum, the sum of their squares
        for batch in read_scores(scores):
            steps, found = _steps_and_scores(batch, tasks)
            size = max(sums.shape[1], int(steps.max(initial=-1)) + 1)
            added: Floats = np.stack([np.bincount(steps, found**power, size) for power in range(3)]).astype(np.float64)
            added[:, : sums.shape[1]] += sums
            sums = added
        count = np.maximum(sums[0], 1)
        mean = sums[1] / count
        return cls(tasks, mean, np.sqrt(np.maximum(sums[2] / count - mean**2, 0)))

    def __call__(self, batch: pa.RecordBatch) -> Floats:
        """The standing of each row ``[rows]``: 0 where the scores of its step are all alike."""
        steps, found = _steps_and_scores(batch, self.weights)
        above, deviation = found - self.mean[steps], self.deviation[steps]
        # What rounding leaves of equal scores is no deviation.
        alike = deviation <= 1e-7 * np.abs(self.mean[steps])
        standings: Floats = np.where(alike, 0.0, above / np.where(alike, 1.0, deviation))
        return standings


def _steps_and_scores(batch: pa.RecordBatch, weights: Floats) -> tuple[Integers, Floats]:
    columns = [column.to_numpy(zero_copy_only=False) for column in batch.columns[3:]]
    scores: Floats = np.stack(columns, axis=1) @ weights if len(batch) else np.zeros(0)
    return batch.column(0).to_numpy(zero_copy_only=False), scores
