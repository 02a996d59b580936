"""Scores of single rows: of samples, and of contributors where no buffers are kept for them (DESIGN §3.4)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from attribution.errors import RecordError, UnscoredRowsError
from attribution.ghost.factors import KeptBatch
from attribution.ghost.gradients import DividedGradient
from attribution.record import Floats
from attribution.scores import ScoreWriter

_temporary: list[tempfile.TemporaryDirectory[str]] = []  # gone when the program ends


class RowScores:
    """Scores the rows of a step's batches once the step's path is known, and streams those of samples to a file.

    A score is minus the path-averaged objective's gradient times what the row's gradient does to the parameters over
    its whole life in the optimizer (`Share.life`), in nats: positive = lowered the loss.
    """

    def __init__(
        self, gradient: DividedGradient, contributors: list[str], tasks: list[str], path: str | os.PathLike[str] | None
    ) -> None:
        self._gradient, self._contributors, self._tasks = gradient, contributors, tasks
        self._path = path
        if path is not None and Path(path).exists():  # now, and not when the first step has been taken
            raise RecordError(f"{path}: exists; choose another file for the scores")
        self._writer: ScoreWriter | None = None
        self._pending: list[KeptBatch] = []
        self._passed_over = False
        self.samples = 0
        # Values less scores, by contributor and task, over the steps all of whose rows were named.
        self.difference: Floats = np.zeros((len(contributors), len(tasks)))

    def keep(
        self, who: Tensor, samples: Sequence[Any] | npt.NDArray[Any] | None, *, unnamed_too: bool
    ) -> KeptBatch | None:
        """Where a batch that begins now is to keep what its rows' scores need; None if they have no score."""
        return None if samples is None and not unnamed_too else KeptBatch(who, samples)

    def add(self, batch: KeptBatch | None) -> None:
        """A batch is over, and waits for its step."""
        if batch is None:
            self._passed_over = True
        else:
            self._pending.append(batch)

    def forget(self) -> None:
        """The batches since the last step come to nothing, or have been scored."""
        self._pending.clear()
        self._passed_over = False

    @property
    def pending(self) -> bool:
        """Whether any batch waits for its step."""
        return bool(self._pending)

    def score(self, step: int, credited: Tensor, values: Floats | None) -> Floats:
        """Score the batches since the last step; each contributor's sum, float64 ``[contributors, tasks]``, nats.

        `credited` ``[tasks, P]`` is the objective's gradient with respect to the training gradient that the optimizer
        used, `values` ``[contributors, tasks]`` what the step came to, unless that is the sum of the scores. The model
        stands where the step began. Raises `UnscoredRowsError` if the rows do not sum to what the whole gradient
        comes to.
        """
        pending, self._pending = self._pending, []
        found = np.zeros((len(self._contributors), len(self._tasks)))
        whole = None if self._passed_over else self._gradient.times(credited)
        directions = self._gradient.scaled(credited).neg_()
        rows, size = np.zeros(len(self._tasks)), np.zeros(len(self._tasks))
        for batch in pending:
            scores = batch.scores(directions).numpy()
            np.add.at(found, batch.who.numpy(), scores)
            rows, size = rows + scores.sum(axis=0), size + np.abs(scores).sum(axis=0)
            if batch.samples is not None:
                self._write(step, batch, scores)
        if whole is not None:
            unit = self._gradient.rounding
            unit = 1e4 * unit if unit == self._gradient.epsilon else 4 * unit  # autocast's is coarse enough by itself
            wrong = np.abs(rows + whole) > unit * size + 1e-300
            if wrong.any():
                task = int(wrong.argmax())
                raise UnscoredRowsError(self._tasks[task], step, float(rows[task]), float(-whole[task]))
        if values is not None and not self._passed_over:
            self.difference = self.difference + values - found
        return found

    def _write(self, step: int, batch: KeptBatch, scores: Floats) -> None:
        assert batch.samples is not None
        if self._writer is None:
            self._writer = ScoreWriter(self._file(), self._contributors, self._tasks)
        self._writer.add(step, batch.samples, batch.who.numpy(), scores)
        self.samples += len(scores)

    def _file(self) -> str | os.PathLike[str]:
        if self._path is not None:
            return self._path
        _temporary.append(tempfile.TemporaryDirectory(prefix="ghostledger-"))
        return Path(_temporary[-1].name) / "scores.parquet"

    def close(self) -> Path | None:
        """Finish the file of samples' scores, if there is one."""
        self.forget()
        return None if self._writer is None else self._writer.close()
