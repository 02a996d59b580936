"""The losses of models retrained on coalitions: each computed once, over processes if wished, and kept on disk.

Nothing here needs torch, so that a worker process loads only what the training itself asks for.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from attribution.errors import AttributionError, OptionError
from attribution.exact import Masks
from attribution.record import Floats

Coalition = tuple[str, ...]
Train = Callable[[Sequence[str], int], "float | Mapping[str, float]"]
Progress = Callable[[int, int], None]

ONLY_TASK = "objective"  # the name of the task where the training returns one number


class RetrainingError(AttributionError):
    """A retraining gave no usable loss, or what was retrained cannot be read or written."""


class LossCache:
    """Losses on disk: a JSON object a line, each appended whole, so that an interrupted evaluation can go on.

    Entries belong to a coalition, a seed and `tag`, which the user changes when the training or the data change.
    Several processes may append to one file. Raises `RetrainingError`, naming file and line, for what is no entry.
    """

    def __init__(self, path: str | os.PathLike[str], tag: str) -> None:
        self._path, self._tag = Path(path), tag
        self._known: dict[tuple[Coalition, int], dict[str, float]] = {}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            content = self._path.read_bytes() if self._path.exists() else b""
            whole = content[: content.rfind(b"\n") + 1]
            if whole != content:  # the writer was killed in the middle of its last line
                os.truncate(self._path, len(whole))
        except OSError as error:
            raise RetrainingError(f"cache {self._path}: cannot be used: {error.strerror or error}") from error
        for number, line in enumerate(whole.splitlines(), start=1):
            self._read(number, line)

    def get(self, coalition: Coalition, seed: int) -> dict[str, float] | None:
        """The losses by task, if they are known."""
        return self._known.get((tuple(sorted(coalition)), seed))

    def add(self, coalition: Coalition, seed: int, losses: Mapping[str, float]) -> None:
        """Append the losses by task of one retraining."""
        key = tuple(sorted(coalition))
        self._known[key, seed] = dict(losses)
        entry = {"tag": self._tag, "seed": seed, "coalition": list(key), "losses": dict(losses)}
        try:
            # One write to a file opened for appending: a line is never interleaved with another's.
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                os.write(descriptor, (json.dumps(entry, ensure_ascii=False) + "\n").encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            raise RetrainingError(f"cache {self._path}: cannot be written: {error.strerror or error}") from error

    def _read(self, number: int, line: bytes) -> None:
        try:
            entry = json.loads(line)
            key = tuple(sorted(entry["coalition"])), int(entry["seed"])
            losses = {str(task): float(loss) for task, loss in entry["losses"].items()}
            mine = entry["tag"] == self._tag
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RetrainingError(
                f"cache {self._path}, line {number}: is not a retraining's entry: use another file"
            ) from error
        if mine:
            self._known.setdefault(key, losses)


class Retrainer:
    """Retrains on coalitions of `contributors`, once with each of `seeds`; a context that ends its worker processes.

    Raises `OptionError` where `train` cannot be sent to worker processes.
    """

    def __init__(
        self,
        train: Train,
        contributors: Sequence[str],
        seeds: Sequence[int],
        *,
        workers: int = 1,
        cache: LossCache | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self.tasks: list[str] = []
        self._train, self._contributors, self._seeds = train, contributors, seeds
        self._workers, self._cache, self._progress = workers, cache, progress
        self._done = 0
        self._pickled = _pickled(train) if workers > 1 else b""
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Retrainer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def losses(self, masks: Masks) -> list[Floats]:
        """Losses ``[seeds, tasks]`` of the models retrained on each of the coalitions `masks`, bool ``[n, K]``."""
        wanted = [(self._coalition(mask), seed) for mask in masks for seed in self._seeds]
        found: dict[tuple[Coalition, int], Floats] = {}
        missing = []
        for coalition, seed in wanted:
            known = None if self._cache is None else self._cache.get(coalition, seed)
            if known is None:
                missing.append((coalition, seed))
            else:
                found[coalition, seed] = self._accept(coalition, seed, known)
        for coalition, seed, result in self._retrained(missing):
            losses = self._accept(coalition, seed, result)
            found[coalition, seed] = losses
            if self._cache is not None:
                self._cache.add(coalition, seed, dict(zip(self.tasks, losses.tolist(), strict=True)))
        return [np.array([found[self._coalition(mask), seed] for seed in self._seeds]) for mask in masks]

    def _coalition(self, mask: Masks) -> Coalition:
        return tuple(name for name, inside in zip(self._contributors, mask, strict=True) if inside)

    def _retrained(self, jobs: list[tuple[Coalition, int]]) -> Iterator[tuple[Coalition, int, Any]]:
        if self._workers == 1 or not jobs:
            for coalition, seed in jobs:
                yield coalition, seed, _noted(self._train, coalition, seed)
            return
        if self._pool is None:
            threads = max(1, (os.cpu_count() or 1) // self._workers)
            # Started afresh, not forked: a process that has used torch's threads does not survive a fork.
            self._pool = ProcessPoolExecutor(
                self._workers, get_context("spawn"), initializer=_receive, initargs=(self._pickled, threads)
            )
        try:
            waiting = {self._pool.submit(_retrain, coalition, seed): (coalition, seed) for coalition, seed in jobs}
            for future in as_completed(waiting):
                yield (*waiting[future], future.result())
        except BrokenProcessPool as error:
            raise RetrainingError(
                "a worker process ended without an answer: guard the script's own work with "
                'if __name__ == "__main__":, see that the memory suffices, or use workers=1 to see why'
            ) from error

    def _accept(self, coalition: Coalition, seed: int, result: Any) -> Floats:
        named = dict(result) if isinstance(result, Mapping) else {ONLY_TASK: result}
        where = f"retraining on {describe(coalition)} with seed {seed}"
        if not self.tasks:
            self.tasks = list(named)
        if set(named) != set(self.tasks) or not named:
            raise RetrainingError(f"{where} gave losses of the tasks {list(named)} where others gave {self.tasks}")
        try:
            losses = np.array([float(named[task]) for task in self.tasks])
        except (TypeError, ValueError) as error:
            raise RetrainingError(f"{where} gave no number as a loss: {error}") from error
        for task, loss in zip(self.tasks, losses, strict=True):
            if not math.isfinite(loss):
                raise RetrainingError(f"{where} gave the loss {loss} for task {task!r}: utilities must be finite")
        self._done += 1
        if self._progress is not None:
            self._progress(self._done)
        return losses


def describe(coalition: Sequence[str]) -> str:
    """A coalition in words."""
    return " + ".join(coalition) if coalition else "nobody's data"


def _pickled(train: Train) -> bytes:
    try:
        return pickle.dumps(train)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise OptionError(
            f"train cannot be sent to worker processes ({error}): define it at the top level of a module that can be "
            "imported, with functools.partial for its data, or use workers=1"
        ) from error


def _noted(train: Train, coalition: Coalition, seed: int) -> float | Mapping[str, float]:
    try:
        return train(coalition, seed)
    except Exception as error:
        error.add_note(f"while retraining on {describe(coalition)} with seed {seed}; what was finished is cached")
        raise


# In a worker process: what it was sent, and the training in it once it was unpacked.
_sent: tuple[bytes, int] = b"", 1
_unpacked: Train | None = None


def _receive(pickled: bytes, threads: int) -> None:
    global _sent
    _sent = pickled, threads


def _retrain(coalition: Coalition, seed: int) -> float | Mapping[str, float]:
    global _unpacked
    if _unpacked is None:
        pickled, threads = _sent
        try:
            _unpacked = pickle.loads(pickled)
        except (AttributeError, ImportError, pickle.UnpicklingError) as error:
            raise RetrainingError(
                f"train cannot be found by worker processes ({error}): define it at the top level of a module that "
                "can be imported, or use workers=1"
            ) from error
        if "torch" in sys.modules:  # each process with all cores' threads would only wait for the others
            sys.modules["torch"].set_num_threads(threads)
    return _noted(_unpacked, coalition, seed)
