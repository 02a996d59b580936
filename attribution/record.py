"""The run record: everything a metered run leaves behind, and the contract between attribution and ledger.

A record is a folder of two Parquet tables and a manifest::

    manifest.json   canonical JSON (RFC 8785): configuration, versions, fingerprints, totals, the tables' hashes
    identity        SHA-256 of manifest.json, in hexadecimal
    steps.parquet   a row a step: step, nodes, loss_before, loss_after, values, house, gap, rows
    values.parquet  a row a contributor and task: contributor, task, value_nats

Nothing here needs torch.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import rfc8785

from attribution.errors import RecordError

FORMAT = "ghostledger-run/1"
MANIFEST, IDENTITY, STEPS, VALUES = "manifest.json", "identity", "steps.parquet", "values.parquet"

# What the record itself writes into the manifest; all else there is `RunRecord.details`.
MANIFEST_KEYS = {"format", "contributors", "tasks", "weights", "complete", "stopped", "steps", "totals", "tables"}

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Step:
    """One optimizer step: what it did to each task's loss, and who did it. All losses and values in nats."""

    index: int
    loss_before: Floats  # [tasks]
    loss_after: Floats  # [tasks]
    values: Floats  # [contributors, tasks]; positive = lowered the loss
    house: Floats  # [tasks]
    gap: Floats  # [tasks]
    nodes: int  # places on the path at which validation gradients were used
    rows: Integers  # [contributors]


@dataclass(frozen=True)
class Steps(Sequence[Step]):
    """All steps of a run: a sequence of `Step`, and the same figures as arrays with the step as first axis."""

    loss_before: Floats  # [steps, tasks]
    loss_after: Floats  # [steps, tasks]
    values: Floats  # [steps, contributors, tasks]
    house: Floats  # [steps, tasks]
    gap: Floats  # [steps, tasks]
    nodes: Integers  # [steps]
    rows: Integers  # [steps, contributors]

    def __post_init__(self) -> None:
        for name in ("loss_before", "loss_after", "values", "house", "gap"):
            object.__setattr__(self, name, _frozen(getattr(self, name), np.float64))
        for name in ("nodes", "rows"):
            object.__setattr__(self, name, _frozen(getattr(self, name), np.int64))
        count = len(self.nodes)
        for name in ("loss_before", "loss_after", "values", "house", "gap", "rows"):
            if len(getattr(self, name)) != count:
                raise RecordError(f"steps: {name} has {len(getattr(self, name))} steps where nodes has {count}")

    def __len__(self) -> int:
        return len(self.nodes)

    @overload
    def __getitem__(self, index: int) -> Step: ...
    @overload
    def __getitem__(self, index: slice) -> list[Step]: ...
    def __getitem__(self, index: int | slice) -> Step | list[Step]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        i = range(len(self))[index]
        return Step(
            i,
            self.loss_before[i],
            self.loss_after[i],
            self.values[i],
            self.house[i],
            self.gap[i],
            int(self.nodes[i]),
            self.rows[i],
        )

    def __iter__(self) -> Iterator[Step]:
        return (self[i] for i in range(len(self)))


@dataclass(frozen=True)
class RunRecord:
    """The values of one metered run, per contributor and task, with all that is needed to check them.

    Values are in each task's own nats and unweighted; positive means that the contributor's data lowered that
    task's validation loss. What is paid for is ``record.values @ record.weights``.

    Raises `RecordError` when the parts do not fit together.
    """

    contributors: list[str]
    tasks: list[str]
    weights: Floats  # [tasks], sums to 1
    steps: Steps
    details: Mapping[str, Any] = field(default_factory=dict)  # configuration, versions, fingerprints, times
    complete: bool = True
    stopped: str | None = None  # why the run ended early, where it did

    def __post_init__(self) -> None:
        object.__setattr__(self, "contributors", list(self.contributors))
        object.__setattr__(self, "tasks", list(self.tasks))
        object.__setattr__(self, "weights", _frozen(self.weights, np.float64))
        for what, names in (("contributor", self.contributors), ("task", self.tasks)):
            if not names or len(set(names)) != len(names) or not all(isinstance(n, str) and n for n in names):
                raise RecordError(f"{what} names must be non-empty, unique strings: {names}")
        if self.weights.shape != (len(self.tasks),) or abs(float(self.weights.sum()) - 1) > 1e-9:
            raise RecordError(f"weights must be one a task and sum to 1: {self.weights.tolist()}")
        if taken := sorted(MANIFEST_KEYS & set(self.details)):
            raise RecordError(f"details must not hold {taken[0]!r}: the record says that itself")
        k, t, n = len(self.contributors), len(self.tasks), len(self.steps)
        if self.steps.values.shape != (n, k, t) or self.steps.rows.shape != (n, k):
            raise RecordError(f"steps of shape {self.steps.values.shape} do not fit {k} contributors and {t} tasks")
        if self.steps.house.shape != (n, t) or self.steps.gap.shape != (n, t):
            raise RecordError(f"house or gap of shape {self.steps.house.shape} does not fit {n} steps and {t} tasks")

    @cached_property
    def values(self) -> Floats:
        """Values, float64 [contributors, tasks], nats, unweighted."""
        return _frozen(self.steps.values.sum(axis=0), np.float64)

    @cached_property
    def house(self) -> Floats:
        """What no contributor caused (weight decay, noise), float64 [tasks], nats."""
        return _frozen(self.steps.house.sum(axis=0), np.float64)

    @cached_property
    def improvement(self) -> Floats:
        """Validation loss before the run minus after it, float64 [tasks], nats."""
        if not len(self.steps):
            return _frozen(np.zeros(len(self.tasks)), np.float64)
        return _frozen(self.steps.loss_before[0] - self.steps.loss_after[-1], np.float64)

    @cached_property
    def gap(self) -> Floats:
        """``improvement - values.sum(0) - house``, float64 [tasks], nats: what the method failed to attribute."""
        return _frozen(self.improvement - self.values.sum(axis=0) - self.house, np.float64)

    @cached_property
    def rows(self) -> Integers:
        """Rows that each contributor supplied to the run's batches, int64 [contributors]."""
        return _frozen(self.steps.rows.sum(axis=0), np.int64)

    @cached_property
    def identity(self) -> str:
        """SHA-256 of the canonical manifest, hexadecimal: the record's name in the ledger."""
        return hashlib.sha256(self._files[MANIFEST]).hexdigest()

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest as it is stored, tables' hashes included."""
        loaded: dict[str, Any] = json.loads(self._files[MANIFEST])
        return loaded

    @cached_property
    def _files(self) -> dict[str, bytes]:
        tables = {STEPS: _parquet(self._steps_table()), VALUES: _parquet(self._values_table())}
        manifest = {
            **self.details,
            "format": FORMAT,
            "contributors": self.contributors,
            "tasks": self.tasks,
            "weights": self.weights.tolist(),
            "complete": self.complete,
            "stopped": self.stopped,
            "steps": len(self.steps),
            "totals": {
                "values": self.values.tolist(),
                "house": self.house.tolist(),
                "gap": self.gap.tolist(),
                "improvement": self.improvement.tolist(),
                "rows": self.rows.tolist(),
            },
            "tables": {name: hashlib.sha256(content).hexdigest() for name, content in tables.items()},
        }
        try:
            return {**tables, MANIFEST: rfc8785.dumps(manifest)}
        except (rfc8785.CanonicalizationError, ValueError) as error:
            raise RecordError(f"the manifest has no canonical form: {error}") from error

    def _steps_table(self) -> pa.Table:
        s, n = self.steps, len(self.steps)
        flat = s.values.reshape(n, len(self.contributors) * len(self.tasks))
        return pa.table(
            {
                "step": pa.array(np.arange(n, dtype=np.int64)),
                "nodes": pa.array(s.nodes),
                "loss_before": _lists(s.loss_before, pa.float64()),
                "loss_after": _lists(s.loss_after, pa.float64()),
                "values": _lists(flat, pa.float64()),
                "house": _lists(s.house, pa.float64()),
                "gap": _lists(s.gap, pa.float64()),
                "rows": _lists(s.rows, pa.int64()),
            }
        )

    def _values_table(self) -> pa.Table:
        k, t = self.values.shape
        return pa.table(
            {
                "contributor": [name for name in self.contributors for _ in range(t)],
                "task": [task for _ in range(k) for task in self.tasks],
                "value_nats": pa.array(self.values.reshape(-1)),
            }
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the record to the folder `path`, whole or not at all, and return the folder.

        Raises `RecordError` if something else is there already; the same record may be saved again.
        """
        target = Path(path)
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            if (target / MANIFEST).is_file() and (target / MANIFEST).read_bytes() == self._files[MANIFEST]:
                RunRecord.load(target)
                return target
            raise RecordError(f"{target}: exists and is not this record; choose another folder")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
                written = Path(scratch) / "record"
                written.mkdir()
                for name, content in self._files.items():
                    (written / name).write_bytes(content)
                (written / IDENTITY).write_text(self.identity + "\n")
                written.replace(target)
        except OSError as error:
            raise RecordError(f"{target}: cannot be written: {error.strerror or error}") from error
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RunRecord:
        """Read a saved record and check every hash in it.

        Raises `RecordError`, naming the file, if one is missing or any byte of it was changed.
        """
        folder = Path(path)
        files = {name: _read(folder / name) for name in (MANIFEST, IDENTITY, STEPS, VALUES)}
        identity = hashlib.sha256(files[MANIFEST]).hexdigest()
        if files[IDENTITY] != f"{identity}\n".encode():
            raise RecordError(
                f"{folder / MANIFEST}: changed since it was written: its SHA-256 is not the one in {folder / IDENTITY}"
            )
        try:
            manifest = json.loads(files[MANIFEST])
            if manifest["format"] != FORMAT:
                raise RecordError(f"{folder / MANIFEST}: format {manifest['format']!r} is not {FORMAT!r}")
            for name in (STEPS, VALUES):
                if hashlib.sha256(files[name]).hexdigest() != manifest["tables"][name]:
                    raise RecordError(
                        f"{folder / name}: changed since it was written: its SHA-256 is not the manifest's"
                    )
            record = cls._of_files(manifest, files)
            stored = pq.read_table(io.BytesIO(files[VALUES]))["value_nats"].to_numpy().reshape(record.values.shape)
        except (ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as error:
            raise RecordError(f"{folder / MANIFEST}: it and its tables are not a run record: {error!r}") from error
        if not np.allclose(stored, record.values, rtol=1e-9, atol=1e-12):
            raise RecordError(f"{folder / VALUES}: the values are not the sums of the steps in {folder / STEPS}")
        return record

    @classmethod
    def _of_files(cls, manifest: dict[str, Any], files: Mapping[str, bytes]) -> RunRecord:
        record = cls(
            contributors=manifest["contributors"],
            tasks=manifest["tasks"],
            weights=np.asarray(manifest["weights"], dtype=np.float64),
            steps=_read_steps(files[STEPS], len(manifest["contributors"]), len(manifest["tasks"])),
            details={key: value for key, value in manifest.items() if key not in MANIFEST_KEYS},
            complete=manifest["complete"],
            stopped=manifest["stopped"],
        )
        # The files, not a fresh serialisation, are what was hashed: another pyarrow may write other bytes.
        record.__dict__["_files"] = {name: files[name] for name in (STEPS, VALUES, MANIFEST)}
        return record


def _frozen(array: npt.ArrayLike, dtype: type) -> npt.NDArray[Any]:
    copy: npt.NDArray[Any] = np.array(array, dtype=dtype)
    copy.setflags(write=False)
    return copy


def _lists(array: npt.NDArray[Any], kind: pa.DataType) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(array.reshape(-1), kind), array.shape[1])


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror or error}") from error


def _read_steps(content: bytes, contributors: int, tasks: int) -> Steps:
    table = pq.read_table(io.BytesIO(content))
    n = table.num_rows

    def column(name: str, *shape: int) -> npt.NDArray[Any]:
        flat = table[name].combine_chunks().flatten().to_numpy() if shape else table[name].to_numpy()
        return np.asarray(flat).reshape(n, *shape)

    return Steps(
        loss_before=column("loss_before", tasks),
        loss_after=column("loss_after", tasks),
        values=column("values", contributors, tasks),
        house=column("house", tasks),
        gap=column("gap", tasks),
        nodes=column("nodes"),
        rows=column("rows", contributors),
    )
