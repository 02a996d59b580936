"""Scores of single samples on disk: written while a run goes, read a piece at a time (DESIGN §3.4). Needs no torch.

A Parquet file, a row a sample and step: step, sample (whole numbers or text), contributor, and a column a task with the
sample's score in nats; positive = lowered the task's loss. A task called like another column has ``task`` put before
its name: `score_columns`.
"""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from attribution.errors import BatchError, NonFiniteError, OptionError, RecordError
from attribution.steps import Floats, Integers

FORMAT = "ghostledger-scores/1"
ROW_GROUP = 1 << 16
MERGE_AT = 1 << 20  # rows of partial sums that are kept before they are summed again
NAMES = ("step", "sample", "contributor", "times")

_METADATA = b"ghostledger"
_CONTRIBUTOR = pa.dictionary(pa.int32(), pa.string())

Identifiers = Integers | list[str]


def score_columns(tasks: Sequence[str]) -> list[str]:
    """The name of each task's column."""
    columns = []
    for task in tasks:
        column = task
        while column in NAMES or (column != task and column in tasks):
            column = f"task {column}"
        columns.append(column)
    return columns


class ScoreWriter:
    """Writes sample scores to the file `path`, which is there whole once `close` has returned, and never before.

    At most `ROW_GROUP` rows and a batch are held in memory. A writer that is abandoned, or collected or left by the
    end of the program without `close`, leaves nothing behind. Raises `RecordError` if `path` exists or cannot be
    written.
    """

    def __init__(self, path: str | os.PathLike[str], contributors: Sequence[str], tasks: Sequence[str]) -> None:
        self.path = Path(path)
        self._contributors, self._tasks = list(contributors), list(tasks)
        if not self._contributors or not self._tasks:
            raise OptionError("scores need at least one contributor and one task")
        if self.path.exists():
            raise RecordError(f"{self.path}: exists; choose another file for the scores")
        self._part = _Part(self.path)
        self._finalizer = weakref.finalize(self, self._part.discard)
        self._text: bool | None = None  # whether samples are named by text: decided by the first batch
        self._held: list[tuple[Integers, Identifiers, Integers, Floats]] = []
        self._rows = 0
        self._closed = False

    def add(self, step: int, samples: Any, who: Any, scores: npt.ArrayLike) -> None:
        """Add what `step` made of `samples` [n], identifiers that are all whole numbers or all text in a file.

        `who` [n] are indices of contributors, `scores` [n, tasks] nats. Raises `BatchError` for what does not fit,
        `NonFiniteError` for scores that are no number, `RecordError` where the file cannot be written.
        """
        if self._closed:
            raise BatchError(f"{self.path}: the scores are closed: make a new writer for another run")
        identifiers, table = _identifiers(samples), np.array(scores, dtype=np.float64)
        indices, n = np.array(who, dtype=np.int64), len(identifiers)
        if indices.shape != (n,) or table.shape != (n, len(self._tasks)):
            raise BatchError(
                f"{n} samples, contributors {indices.shape} and scores {table.shape} do not fit: they are "
                f"[n], [n] and [n, {len(self._tasks)}]"
            )
        if not n:
            return
        if indices.min() < 0 or indices.max() >= len(self._contributors):
            raise BatchError(f"contributor indices must be in 0..{len(self._contributors) - 1}")
        if not (finite := np.isfinite(table).all(axis=1)).all():
            raise NonFiniteError(f"the score of sample {identifiers[int(finite.argmin())]!r}", step)
        text = isinstance(identifiers, list)
        if self._text is None:
            self._text = text
        if text != self._text:
            raise BatchError("samples must be whole numbers in every batch, or text in every batch")
        self._held.append((np.full(n, step, dtype=np.int64), identifiers, indices, table))
        self._rows += n
        if self._rows >= ROW_GROUP:
            self._flush()

    def close(self) -> Path:
        """Finish the file and return its path. Closing again does nothing."""
        if not self._closed:
            self._closed = True
            if self._held or not self._part.begun:
                self._flush()
            with _writing(self.path):
                self._part.keep(self.path)
            self._finalizer.detach()
        return self.path

    def abandon(self) -> None:
        """Delete what was written, unless the file was closed."""
        self._closed, self._held = True, []
        self._finalizer()

    def __enter__(self) -> ScoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abandon()

    def _flush(self) -> None:
        schema = _schema(self._contributors, self._tasks, bool(self._text))
        steps, samples, who, scores = list(zip(*self._held, strict=True)) or [(), (), (), ()]
        names: Any = [name for batch in samples for name in batch] if self._text else _joined(samples, np.int64)
        table = _joined(scores, np.float64, len(self._tasks))
        columns = [
            pa.array(_joined(steps, np.int64)),
            pa.array(names, schema.field("sample").type),
            pa.DictionaryArray.from_arrays(pa.array(_joined(who, np.int64), pa.int32()), self._contributors),
            *(pa.array(np.ascontiguousarray(column)) for column in table.T),
        ]
        self._held, self._rows = [], 0
        with _writing(self.path):
            self._part.write(pa.table(columns, schema=schema))


def read_scores(path: str | os.PathLike[str]) -> Iterator[pa.RecordBatch]:
    """The scores in a file, a batch of rows at a time. Raises `RecordError` for a file that holds none."""
    with _reading(path) as (file, _):
        yield from file.iter_batches(batch_size=ROW_GROUP)


def score_totals(path: str | os.PathLike[str]) -> pa.Table:
    """Each sample's scores summed over the run: sample, contributor, times (how often it was seen), a column a task.

    Memory is in proportion to the number of different samples, not to the file. Sorted by sample and contributor.
    Raises `RecordError` for a file that holds no scores.
    """
    with _reading(path) as (file, stated):
        contributors = pa.array(stated["contributors"], pa.string())
        # Names of columns that Arrow does not take for paths, whatever the tasks are called.
        sums = ["times", *(f"task_{i}" for i in range(len(stated["tasks"])))]
        kinds = [("sample", file.schema_arrow.field(1).type), ("who", pa.int32()), ("times", pa.int64())]
        totals = pa.schema([*kinds, *((name, pa.float64()) for name in sums[1:])]).empty_table()
        partial, rows = [totals], 0
        for batch in file.iter_batches(batch_size=ROW_GROUP):
            who = pc.index_in(batch.column(2).dictionary_decode(), contributors)
            seen = pa.array(np.ones(len(batch), dtype=np.int64))
            columns = [batch.column(1), who, seen, *batch.columns[3:]]
            partial.append(_summed([pa.table(columns, names=["sample", "who", *sums])], sums))
            rows += len(partial[-1])
            if rows >= max(MERGE_AT, 2 * len(totals)):
                totals = _summed(partial, sums)
                partial, rows = [totals], len(totals)
    totals = _summed(partial, sums).sort_by([("sample", "ascending"), ("who", "ascending")])
    who = pa.DictionaryArray.from_arrays(totals["who"].combine_chunks(), contributors)
    names = ["sample", "contributor", "times", *score_columns(stated["tasks"])]
    return pa.table([totals["sample"], who, *totals.columns[2:]], names=names)


class _Part:
    """The file while it is written, beside the place where it will be."""

    def __init__(self, path: Path) -> None:
        self._process = os.getpid()
        self._path = path.with_name(f".{path.name}.{self._process}.part")
        self._writer: Any = None
        with _writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("wb")

    @property
    def begun(self) -> bool:
        return self._writer is not None

    def write(self, table: pa.Table) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._file, table.schema, compression="zstd")
        self._writer.write_table(table, row_group_size=ROW_GROUP)

    def keep(self, path: Path) -> None:
        self._writer.close()
        self._file.close()
        self._path.replace(path)

    def discard(self) -> None:
        if os.getpid() != self._process:
            return  # a fork's copy: the file is its parent's
        try:
            if self._writer is not None:
                self._writer.close()
        finally:
            self._file.close()
            self._path.unlink(missing_ok=True)


def _schema(contributors: Sequence[str], tasks: Sequence[str], text: bool) -> pa.Schema:
    stated = json.dumps({"format": FORMAT, "contributors": list(contributors), "tasks": list(tasks)})
    kinds = [("step", pa.int64()), ("sample", pa.string() if text else pa.int64()), ("contributor", _CONTRIBUTOR)]
    return pa.schema([*kinds, *((column, pa.float64()) for column in score_columns(tasks))], {_METADATA: stated})


def _identifiers(samples: Any) -> Identifiers:
    if not isinstance(samples, (list, tuple)):
        array = np.asarray(samples)
        if array.ndim == 1 and array.dtype.kind in "iu":
            return array.astype(np.int64)
        samples = array.tolist() if array.ndim == 1 else [None]
    if all(isinstance(sample, str) for sample in samples):
        return list(samples)
    if all(isinstance(sample, (int, np.integer)) and not isinstance(sample, bool) for sample in samples):
        try:
            return np.array(samples, dtype=np.int64)
        except OverflowError:
            pass
    raise BatchError("samples must be one identifier a row: all whole numbers of 64 bits, or all text")


def _joined(arrays: Sequence[npt.NDArray[Any]], dtype: type, *shape: int) -> npt.NDArray[Any]:
    return np.concatenate([np.empty((0, *shape), dtype=dtype), *arrays])


def _summed(tables: Sequence[pa.Table], sums: Sequence[str]) -> pa.Table:
    # One thread: the order of a sum, and with it the last digit, is the same every time.
    grouped = pa.concat_tables(tables).group_by(["sample", "who"], use_threads=False)
    summed = grouped.aggregate([(name, "sum") for name in sums])
    return summed.select(["sample", "who", *(f"{name}_sum" for name in sums)]).rename_columns(["sample", "who", *sums])


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise RecordError(f"{path}: the scores cannot be written: {error}") from error


@contextmanager
def _reading(path: str | os.PathLike[str]) -> Iterator[tuple[Any, dict[str, Any]]]:
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            stated = json.loads((file.schema_arrow.metadata or {})[_METADATA])
            yield file, {"contributors": stated["contributors"], "tasks": stated["tasks"]}
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise RecordError(f"{path}: no scores can be read from it: {error!r}") from error
