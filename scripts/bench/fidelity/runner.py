"""Work done over processes, each result kept on disk if wished, so that an interrupted bench goes on."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

Job = tuple[Any, dict[str, Any]]  # a case, which is a frozen dataclass, and options


class Runner:
    """Runs ``function(case, **options)`` for many cases; a result is what JSON holds, arrays as lists.

    One worker is this process itself. `keep` is a folder of finished results, by function, case and options: empty it
    when the code changes.
    """

    def __init__(self, workers: int, keep: Path | None) -> None:
        self._keep = keep
        self._pool: ProcessPoolExecutor | None = None
        if workers > 1:
            self._pool = ProcessPoolExecutor(
                workers, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
            )
        self.seconds = 0.0  # of work, over all processes
        self.title = ""

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def __call__(self, function: Callable[..., Any], jobs: Sequence[Job]) -> list[Any]:
        """Results of all jobs, in their order."""
        paths = [self._path(function, *job) for job in jobs]
        results = {i: json.loads(path.read_text()) for i, path in enumerate(paths) if path and path.exists()}
        missing = [i for i in range(len(jobs)) if i not in results]
        for index, (seconds, result) in self._computed(function, {i: jobs[i] for i in missing}):
            self.seconds += seconds
            results[index] = result
            if (path := paths[index]) is not None:
                _write(path, result)
            print(f"\r{self.title}: {len(results)} of {len(jobs)}", end="", file=sys.stderr, flush=True)
        if missing:
            print(file=sys.stderr)
        return [results[index] for index in range(len(jobs))]

    def _computed(self, function: Callable[..., Any], jobs: dict[int, Job]) -> Iterator[tuple[int, tuple[float, Any]]]:
        if self._pool is None:
            yield from ((index, _timed(function, *job)) for index, job in jobs.items())
            return
        waiting = {self._pool.submit(_timed, function, *job): index for index, job in jobs.items()}
        for future in as_completed(waiting):
            yield waiting[future], future.result()

    def _path(self, function: Callable[..., Any], case: Any, options: dict[str, Any]) -> Path | None:
        if self._keep is None:
            return None
        key = json.dumps([function.__module__, function.__name__, asdict(case), options], sort_keys=True)
        return self._keep / f"{function.__name__}-{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"


def _timed(function: Callable[..., Any], case: Any, options: dict[str, Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = function(case, **options)
    return time.perf_counter() - began, _plain(result)


def _plain(result: Any) -> Any:
    if isinstance(result, dict):
        return {key: _plain(value) for key, value in result.items()}
    return result.tolist() if isinstance(result, np.ndarray) else result


def _write(path: Path, result: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as scratch:
        json.dump(result, scratch)
    Path(scratch.name).replace(path)
