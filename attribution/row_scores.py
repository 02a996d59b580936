"""Scores of single rows: of samples, and of contributors where no buffers are kept for them (DESIGN §3.4)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from attribution.errors import RecordError, UnscoredRowsError
from attribution.ghost.checks import CHECK_SHARE
from attribution.ghost.factors import KeptBatch
from attribution.ghost.gradients import DividedGradient
from attribution.record import Floats
from attribution.scores import ScoreWriter
from attribution.step import Credited

WORTH_SPARING = 1 / 8  # of the rows

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
    def held(self) -> int:
        """Bytes that the batches which wait for their step keep."""
        tensors = (tensor for batch in self._pending for tensor in batch.tensors())
        return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())

    def may_spare(self, step: int) -> bool:
        """Whether `step` may leave out a row a contributor: what its part of the gradient comes to less its other rows.

        Not where other rows or edits are in that part. From time to time all rows are computed, so that they prove
        to be all that there is: in small models always.
        """
        checks = self._gradient.checks
        return checks.in_turn and step % CHECK_SHARE != 0 and not self._passed_over and not self._gradient.edited

    @property
    def pending(self) -> bool:
        """Whether any batch waits for its step."""
        return bool(self._pending)

    def score(self, step: int, credited: Credited, values: Floats | None) -> Floats:
        """Score the batches since the last step; each contributor's sum, float64 ``[contributors, tasks]``, nats.

        `values` ``[contributors, tasks]`` is what the step came to, unless that is the sum of the scores. The model
        stands where the step began. Raises `UnscoredRowsError` if the rows do not sum to what the whole gradient
        comes to.
        """
        pending, self._pending = self._pending, []
        whole = None if self._passed_over else self._gradient.times(credited.gradients)
        directions = self._gradient.scaled(credited.gradients).neg_()
        spared = _spared(pending) if credited.parts is not None else []
        wanted = [torch.ones(len(batch.who), dtype=torch.bool) for batch in pending]
        for number, row in spared:
            wanted[number][row] = False
        scores = [
            batch.scores(directions, rows if spared else None).numpy()
            for batch, rows in zip(pending, wanted, strict=True)
        ]
        found = np.zeros((len(self._contributors), len(self._tasks)))
        for batch, table in zip(pending, scores, strict=True):
            np.add.at(found, batch.who.numpy(), table)
        for number, row in spared:
            assert credited.parts is not None
            contributor = int(pending[number].who[row])
            whole_part = -credited.parts[contributor].numpy()
            scores[number][row], found[contributor] = whole_part - found[contributor], whole_part
        for batch, table in zip(pending, scores, strict=True):
            if batch.samples is not None:
                self._write(step, batch, table)
        if whole is not None:
            self._check(step, whole, scores)
        if values is not None and not self._passed_over:
            self.difference = self.difference + values - found
        return found

    def _check(self, step: int, whole: Floats, scores: list[Floats]) -> None:
        rows = np.sum([table.sum(axis=0) for table in scores], axis=0)
        size = np.sum([np.abs(table).sum(axis=0) for table in scores], axis=0)
        unit = self._gradient.rounding.unit
        unit = 1e4 * unit if unit == self._gradient.epsilon else 4 * unit  # autocast's is coarse enough by itself
        wrong = np.abs(rows + whole) > unit * size + 1e-300
        if wrong.any():
            task = int(wrong.argmax())
            raise UnscoredRowsError(self._tasks[task], step, float(rows[task]), float(-whole[task]))

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


def _spared(pending: list[KeptBatch]) -> list[tuple[int, int]]:
    """One row a contributor, as its batch and its place there: the largest; none where that spares next to nothing.

    What a row without a gradient leaves would be the others' rounding, and not 0.
    """
    largest: dict[int, tuple[float, int, int]] = {}
    for number, batch in enumerate(pending):
        for row, (contributor, size) in enumerate(zip(batch.who.tolist(), batch.sizes().tolist(), strict=True)):
            if size > largest.get(contributor, (0.0,))[0]:
                largest[contributor] = size, number, row
    few = len(largest) < WORTH_SPARING * sum(len(batch.who) for batch in pending)
    return [] if few else [(number, row) for _, number, row in largest.values()]
