"""What an evaluation by retraining leaves behind: every loss it rests on, and the Shapley values that follow."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import rfc8785

from attribution.errors import OptionError
from attribution.exact import Game, Masks, Near, enumerated, joining_gains, pair_errors, within
from attribution.manifest import versions
from attribution.record import Floats, Integers, RunRecord, Steps
from attribution.retraining_losses import RetrainingError, describe

FORMAT = "ghostledger-retraining/1"


@dataclass(frozen=True, eq=False)
class RetrainingValues:
    """Shapley values by retraining, with the losses from which anyone can compute them again.

    The utility of a coalition is the loss of the untrained model less that of the model trained on the coalition's
    data, both with the same seed, in nats; positive values lowered the loss. Everything else follows from the fields.

    Raises `RetrainingError` where they do not fit together.
    """

    contributors: list[str]
    tasks: list[str]
    seeds: list[int]
    coalitions: Masks  # [N, contributors]
    losses: Floats  # [N, seeds, tasks], nats
    orders: Integers | None  # the permutations used [P, contributors]; None where all coalitions were
    truncation: float
    tag: str
    began_at: str
    ended_at: str

    def __post_init__(self) -> None:
        for array in (self.coalitions, self.losses, self.orders):
            if array is not None:
                array.setflags(write=False)
        n, k = self.coalitions.shape
        if k != len(self.contributors) or self.losses.shape != (n, len(self.seeds), len(self.tasks)):
            raise RetrainingError(
                f"losses of shape {self.losses.shape} do not fit {n} coalitions, {len(self.seeds)} seeds and "
                f"{len(self.tasks)} tasks"
            )

    @property
    def retrainings(self) -> int:
        """How many trained models the values rest on."""
        return len(self.coalitions) * len(self.seeds)

    @cached_property
    def utilities(self) -> Floats:
        """The utility of each of `coalitions`, float64 [N, tasks], nats, the mean over seeds."""
        return _mean(np.array(self._by_seed(self.coalitions)), 1)

    @cached_property
    def improvement(self) -> Floats:
        """The utility of everybody's data, float64 [tasks], nats."""
        return _mean(self._by_seed(np.ones((1, len(self.contributors)), dtype=bool))[0], 0)

    @property
    def values(self) -> Floats:
        """Shapley values, float64 [contributors, tasks], nats, the mean over seeds."""
        return _mean(self._solved[0], 1)

    @property
    def standard_errors(self) -> Floats:
        """Of `values`, from the permutations' spread: [contributors, tasks]; 0 where all coalitions were used."""
        return self._solved[1]

    @property
    def seed_spreads(self) -> Floats:
        """Standard deviation of one seed's values, [contributors, tasks], nats: a contributor's luck.

        NaN with a single seed. The mean over seeds is surer by the root of their number.
        """
        if len(self.seeds) < 2:
            return np.full((len(self.contributors), len(self.tasks)), np.nan)
        spreads: Floats = self._solved[0].std(axis=1, ddof=1)
        return spreads

    @property
    def bias(self) -> Floats:
        """What truncation kept from the players who came late, float64 [tasks], nats: improvement less all values."""
        return self._solved[2]

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write everything to the file `path` as canonical JSON (RFC 8785), whole or not at all, and return it.

        Raises `RetrainingError` if something else is there already.
        """
        target = Path(path)
        try:
            if target.exists() and target.read_bytes() != self._file:
                raise RetrainingError(f"{target}: exists and is not this evaluation; choose another file")
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
                written = Path(scratch) / target.name
                written.write_bytes(self._file)
                written.replace(target)
        except OSError as error:
            raise RetrainingError(f"{target}: cannot be written: {error.strerror or error}") from error
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RetrainingValues:
        """Read a saved evaluation and compute its values again from its losses.

        Raises `RetrainingError`, naming the file, if it is none or states other values.
        """
        target = Path(path)
        try:
            content = target.read_bytes()
        except OSError as error:
            raise RetrainingError(f"{target}: cannot be read: {error.strerror or error}") from error
        try:
            stored = json.loads(content)
            if stored["format"] != FORMAT:
                raise RetrainingError(f"{target}: format {stored['format']!r} is not {FORMAT!r}")
            k = len(stored["contributors"])
            coalitions = np.zeros((len(stored["coalitions"]), k), dtype=bool)
            for row, members in enumerate(stored["coalitions"]):
                coalitions[row, members] = True
            loaded = cls(
                contributors=stored["contributors"],
                tasks=stored["tasks"],
                seeds=stored["seeds"],
                coalitions=coalitions,
                losses=np.array(stored["losses"], dtype=np.float64),
                orders=None if stored["orders"] is None else np.array(stored["orders"], dtype=np.int64).reshape(-1, k),
                truncation=stored["truncation"],
                tag=stored["tag"],
                began_at=stored["began_at"],
                ended_at=stored["ended_at"],
            )
            same = np.allclose(stored["values"], loaded.values, rtol=1e-9, atol=1e-12)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise RetrainingError(f"{target}: is not a saved evaluation by retraining: {error!r}") from error
        if not same:
            raise RetrainingError(f"{target}: the values it states do not follow from its losses")
        return loaded

    def as_record(
        self,
        *,
        task_weights: Mapping[str, float] | None = None,
        rows: Mapping[str, int] | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> RunRecord:
        """The values as a run record, from which a ledger can settle: one step, from nobody's data to everybody's.

        The house owns nothing, and the gap is what truncation left out.

        Args:
            task_weights: weight of each task, by name; they must sum to 1. Equal by default.
            rows: how many rows each contributor supplied; 1 where not stated, so that everybody's consent is asked for.
            details: what else the manifest is to say, such as the fingerprints of ``data`` and ``objective``.

        Raises `OptionError` for weights or rows of others than the tasks and contributors, `RecordError` for weights
        or details that a record refuses.
        """
        for what, given, known in (("task_weights", task_weights, self.tasks), ("rows", rows, self.contributors)):
            if unknown := sorted(set(given or ()) - set(known)):
                raise OptionError(f"{what} names {unknown[0]!r}, which is not one of {', '.join(known)}")
        weights = {task: 1 / len(self.tasks) for task in self.tasks} if task_weights is None else task_weights
        k = len(self.contributors)
        nobody, everybody = (self._losses_of(np.full(k, whose)).mean(axis=0) for whose in (False, True))
        return RunRecord(
            contributors=self.contributors,
            tasks=self.tasks,
            weights=np.array([weights.get(task, 0.0) for task in self.tasks]),
            steps=Steps(
                loss_before=nobody[None],
                loss_after=everybody[None],
                values=self.values[None],
                house=np.zeros((1, len(self.tasks))),
                gap=(nobody - everybody - self.values.sum(axis=0))[None],
                nodes=np.zeros(1, dtype=np.int64),
                rows=np.array([[(rows or {}).get(name, 1) for name in self.contributors]], dtype=np.int64),
            ),
            details={
                "began_at": self.began_at,
                "ended_at": self.ended_at,
                "method": self._method(),
                "versions": versions(),
                **(details or {}),
            },
            standard_errors=None if self.orders is None else self.standard_errors,
        )

    def _method(self) -> dict[str, Any]:
        return {
            "name": "retraining",
            "coalitions": len(self.coalitions),
            "permutations": None if self.orders is None else len(self.orders),
            "truncation": self.truncation,
            "seeds": self.seeds,
            "retrainings": self.retrainings,
            "tag": self.tag,
            "seed_spreads": self.seed_spreads.tolist() if len(self.seeds) > 1 else None,
            "evidence": hashlib.sha256(self._file).hexdigest(),  # of the file that `save` writes
        }

    @cached_property
    def _file(self) -> bytes:
        stored = {
            "format": FORMAT,
            "contributors": self.contributors,
            "tasks": self.tasks,
            "seeds": self.seeds,
            "coalitions": [np.flatnonzero(mask).tolist() for mask in self.coalitions],
            "losses": self.losses.tolist(),
            "orders": None if self.orders is None else self.orders.tolist(),
            "truncation": self.truncation,
            "tag": self.tag,
            "began_at": self.began_at,
            "ended_at": self.ended_at,
            "values": self.values.tolist(),
            "standard_errors": self.standard_errors.tolist(),
        }
        return rfc8785.dumps(stored)

    @cached_property
    def _solved(self) -> tuple[Floats, Floats, Floats]:
        """Values by seed [contributors, seeds, tasks], standard errors [contributors, tasks] and bias [tasks]."""
        game = Game(self._by_seed, len(self.contributors))
        if self.orders is None:
            values = enumerated(game)
            return values, np.zeros_like(values[:, 0]), np.zeros(len(self.tasks))
        gains, missed = joining_gains(game, self.orders, near_on_average(self.truncation))
        return gains.mean(axis=0), pair_errors(gains.mean(axis=2)), missed.mean(axis=(0, 1))

    def _by_seed(self, masks: Masks) -> list[Floats]:
        """Utilities [seeds, tasks] of coalitions, each seed's own untrained model as its zero."""
        untrained = self._losses_of(np.zeros(len(self.contributors), dtype=bool))
        return [untrained - self._losses_of(mask) for mask in masks]

    def _losses_of(self, mask: Masks) -> Floats:
        row = self._rows.get(mask.tobytes())
        if row is None:
            members = [name for name, inside in zip(self.contributors, mask, strict=True) if inside]
            raise RetrainingError(f"the loss of {describe(members)} is missing from the evaluation")
        losses: Floats = self.losses[row]
        return losses

    @cached_property
    def _rows(self) -> dict[bytes, int]:
        return {mask.tobytes(): row for row, mask in enumerate(self.coalitions)}


def _mean(array: Floats, axis: int) -> Floats:
    mean: Floats = array.mean(axis=axis)
    return mean


def near_on_average(truncation: float) -> Near | None:
    """`within`, of the mean over seeds of worths ``[n, seeds, tasks]``: one seed's luck must not decide."""
    near = within(truncation)
    if near is None:
        return None
    return lambda worth, none, full: near(worth.mean(axis=1), none.mean(axis=0), full.mean(axis=0))
