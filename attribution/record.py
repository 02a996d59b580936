"""The run record: everything a metered run leaves behind, and the contract between attribution and ledger.

A record is a folder of Parquet tables and a manifest::

    manifest.json       canonical JSON (RFC 8785): configuration, versions, fingerprints, totals, the tables' hashes
    identity            SHA-256 of manifest.json, in hexadecimal
    steps.parquet       a row a segment of the path: step (its first), length (in steps), nodes, loss_before,
                        loss_after, values, house, gap, rows
    values.parquet      a row a contributor and task: contributor, task, value_nats; standard_error of sampled values
    valuations.parquet  only where the run was valued by other paths too: valuation, and the columns of values.parquet
    scores.parquet      only where samples were scored: a row a sample and step (attribution/scores.py)

Nothing here needs torch.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import rfc8785

from attribution.errors import RecordError
from attribution.folder import file_sha256, read_file, write_folder
from attribution.steps import NOT_TELESCOPING, TELESCOPING, Floats, Integers, Step, Steps, frozen_array
from attribution.tables import read_steps, read_valuations, read_values, steps_table, valuations_table, values_table
from attribution.valuation import Valuation, checked_errors

__all__ = ["MANIFEST_KEYS", "Floats", "Integers", "RunRecord", "Step", "Steps", "Valuation"]

FORMAT, FORMATS = "ghostledger-run/2", ("ghostledger-run/1", "ghostledger-run/2")
MANIFEST, IDENTITY, STEPS, VALUES = "manifest.json", "identity", "steps.parquet", "values.parquet"
VALUATIONS, SCORES = "valuations.parquet", "scores.parquet"
TABLES = {STEPS, VALUES, VALUATIONS, SCORES}

# What the record itself writes into the manifest; all else there is `RunRecord.details`.
MANIFEST_KEYS = {"format", "contributors", "tasks", "weights", "complete", "stopped", "steps", "totals", "tables"}
MANIFEST_KEYS |= {"segments", "telescopes", "improvement_is", "beside"}


@dataclass(frozen=True)
class RunRecord:
    """The values of one metered run, per contributor and task, with all that is needed to check them.

    Values are in each task's own nats and unweighted; positive means that the contributor's data lowered that
    task's validation loss. What is paid for is ``record.values @ record.weights``.

    Raises `RecordError` when the parts do not fit together.
    """

    contributors: list[str]
    tasks: list[str]
    weights: Floats  # [tasks], none negative, sums to 1
    steps: Steps
    details: Mapping[str, Any] = field(default_factory=dict)  # configuration, versions, fingerprints, times
    complete: bool = True
    stopped: str | None = None  # why the run ended early, where it did
    beside: Mapping[str, Valuation] = field(default_factory=dict)  # valuations of the same run by other paths
    standard_errors: Floats | None = None  # [contributors, tasks] of `values`, where those were sampled
    telescopes: bool = True  # False: each segment has a validation batch of its own, the same at both its ends
    scores: Path | None = None  # a Parquet file of sample scores, see attribution/scores.py

    def __post_init__(self) -> None:
        object.__setattr__(self, "contributors", list(self.contributors))
        object.__setattr__(self, "tasks", list(self.tasks))
        object.__setattr__(self, "weights", frozen_array(self.weights, np.float64))
        object.__setattr__(self, "beside", {name: self.beside[name] for name in sorted(self.beside)})
        object.__setattr__(self, "scores", None if self.scores is None else Path(self.scores))
        for what, names in (("contributor", self.contributors), ("task", self.tasks)):
            if not names or len(set(names)) != len(names) or not all(isinstance(n, str) and n for n in names):
                raise RecordError(f"{what} names must be non-empty, unique strings: {names}")
        if self.weights.shape != (len(self.tasks),) or not abs(float(self.weights.sum()) - 1) <= 1e-9:
            raise RecordError(f"weights must be one a task and sum to 1: {self.weights.tolist()}")
        if (self.weights < 0).any():
            raise RecordError(f"weights must not be negative: {self.weights.tolist()}")
        if taken := sorted(MANIFEST_KEYS & set(self.details)):
            raise RecordError(f"details must not hold {taken[0]!r}: the record says that itself")
        k, t, n = len(self.contributors), len(self.tasks), len(self.steps)
        if self.steps.values.shape != (n, k, t) or self.steps.rows.shape != (n, k):
            raise RecordError(f"steps of shape {self.steps.values.shape} do not fit {k} contributors and {t} tasks")
        for name in ("loss_before", "loss_after", "house", "gap"):
            if (shape := getattr(self.steps, name).shape) != (n, t):
                raise RecordError(f"{name} of shape {shape} does not fit {n} segments and {t} tasks")
        object.__setattr__(self, "standard_errors", checked_errors(self.standard_errors, (k, t)))
        self._check_beside()

    def _check_beside(self) -> None:
        shape = (len(self.contributors), len(self.tasks))
        losses = np.abs([self.steps.loss_before, self.steps.loss_after]).max(axis=(0, 1), initial=0)
        for name, valuation in self.beside.items():
            if not name or valuation.values.shape != shape:
                raise RecordError(f"valuation {name!r} of shape {valuation.values.shape} does not fit {shape}")
            if not valuation.accounts_for(self.improvement, losses):
                missing = valuation.missing(self.improvement).tolist()
                raise RecordError(
                    f"valuation {name!r}: values, house and gap miss the run's improvement by {missing} nats"
                )

    @cached_property
    def values(self) -> Floats:
        """Values, float64 [contributors, tasks], nats, unweighted."""
        return frozen_array(self.steps.values.sum(axis=0), np.float64)

    @cached_property
    def house(self) -> Floats:
        """What no contributor caused (weight decay, noise), float64 [tasks], nats."""
        return frozen_array(self.steps.house.sum(axis=0), np.float64)

    @cached_property
    def improvement(self) -> Floats:
        """What the run did to the validation loss, float64 [tasks], nats; positive = lowered it.

        Loss before the run minus loss after it, or, unless the record `telescopes`, the segments' own improvements
        summed, each on its own validation batch.
        """
        return self.steps.improvement(self.telescopes)

    @cached_property
    def gap(self) -> Floats:
        """``improvement - values.sum(0) - house``, float64 [tasks], nats: what the method failed to attribute."""
        return frozen_array(self.improvement - self.values.sum(axis=0) - self.house, np.float64)

    @cached_property
    def rows(self) -> Integers:
        """Rows that each contributor supplied to the run's batches, int64 [contributors]."""
        return frozen_array(self.steps.rows.sum(axis=0), np.int64)

    def with_weights(self, weights: Mapping[str, float]) -> RunRecord:
        """The same run with other task weights, by name: values are per task, so nothing is trained again.

        The details say under ``reweighted`` from which record, and from which weights. Raises `RecordError` unless
        every task has a weight, none is negative and they sum to 1.
        """
        if set(weights) != set(self.tasks):
            raise RecordError(f"weights must name the tasks {self.tasks}, not {list(weights)}")
        # However often weights change, the note names the record that the meter made.
        origin = {"from": self.identity, "weights": dict(zip(self.tasks, self.weights.tolist(), strict=True))}
        changed = replace(
            self,
            weights=np.array([weights[task] for task in self.tasks]),
            details={"reweighted": origin, **self.details},
        )
        if self.scores is not None:
            changed.__dict__["_scores_sha256"] = self._scores_sha256
        return changed

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
    def _scores_sha256(self) -> str:
        assert self.scores is not None
        return file_sha256(self.scores)

    @cached_property
    def _files(self) -> dict[str, bytes]:
        tables = {
            STEPS: steps_table(self.steps),
            VALUES: values_table(self.contributors, self.tasks, self.values, self.standard_errors),
        }
        if self.beside:
            tables[VALUATIONS] = valuations_table(self.contributors, self.tasks, self.beside)
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in tables.items()}
        if self.scores is not None:
            hashes[SCORES] = self._scores_sha256
        try:
            return {**tables, MANIFEST: rfc8785.dumps(self._manifest(hashes))}
        except (rfc8785.CanonicalizationError, ValueError) as error:
            raise RecordError(f"the manifest has no canonical form: {error}") from error

    def _manifest(self, hashes: Mapping[str, str]) -> dict[str, Any]:
        return {
            **self.details,
            "format": FORMAT,
            "contributors": self.contributors,
            "tasks": self.tasks,
            "weights": self.weights.tolist(),
            "complete": self.complete,
            "stopped": self.stopped,
            "steps": int(self.steps.length.sum()),
            "segments": len(self.steps),
            "telescopes": self.telescopes,
            "improvement_is": TELESCOPING if self.telescopes else NOT_TELESCOPING,
            "totals": {
                "values": self.values.tolist(),
                "house": self.house.tolist(),
                "gap": self.gap.tolist(),
                "improvement": self.improvement.tolist(),
                "rows": self.rows.tolist(),
            },
            "beside": {
                name: {
                    "house": valuation.house.tolist(),
                    "gap": valuation.gap.tolist(),
                    "nodes": valuation.nodes,
                    "details": valuation.details,
                }
                for name, valuation in self.beside.items()
            },
            "tables": hashes,
        }

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the record to the folder `path`, whole or not at all, and return the folder.

        A file of sample scores is linked into it, or copied to another file system. Raises `RecordError` if something
        else is there already; the same record may be saved again.
        """
        target = Path(path)
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            if (target / MANIFEST).is_file() and (target / MANIFEST).read_bytes() == self._files[MANIFEST]:
                RunRecord.load(target)
                return target
            raise RecordError(f"{target}: exists and is not this record; choose another folder")
        linked = {} if self.scores is None else {SCORES: (self.scores, self._scores_sha256)}
        write_folder(target, {**self._files, IDENTITY: f"{self.identity}\n".encode()}, linked)
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RunRecord:
        """Read a saved record and check every hash in it.

        Raises `RecordError`, naming the file, if one is missing or any byte of it was changed.
        """
        folder = Path(path)
        files = {name: read_file(folder / name) for name in (MANIFEST, IDENTITY)}
        identity = hashlib.sha256(files[MANIFEST]).hexdigest()
        if files.pop(IDENTITY) != f"{identity}\n".encode():
            raise RecordError(
                f"{folder / MANIFEST}: changed since it was written: its SHA-256 is not the one in {folder / IDENTITY}"
            )
        try:
            manifest = json.loads(files[MANIFEST])
            if manifest["format"] not in FORMATS:
                raise RecordError(f"{folder / MANIFEST}: format {manifest['format']!r} is not {FORMAT!r}")
            for name in sorted({STEPS, VALUES, *manifest["tables"]} & TABLES):
                if name != SCORES:  # which is too large for memory
                    files[name] = read_file(folder / name)
                sha256 = file_sha256(folder / name) if name == SCORES else hashlib.sha256(files[name]).hexdigest()
                if sha256 != manifest["tables"][name]:
                    raise RecordError(
                        f"{folder / name}: changed since it was written: its SHA-256 is not the manifest's"
                    )
            return cls._of_files(folder, manifest, files)
        except (ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as error:
            raise RecordError(f"{folder / MANIFEST}: it and its tables are not a run record: {error!r}") from error

    @classmethod
    def _of_files(cls, folder: Path, manifest: dict[str, Any], files: dict[str, bytes]) -> RunRecord:
        contributors, tasks = manifest["contributors"], manifest["tasks"]
        values, standard_errors = read_values(files[VALUES], contributors, tasks)
        stated = manifest.get("beside") or {}
        record = cls(
            contributors=contributors,
            tasks=tasks,
            weights=np.asarray(manifest["weights"], dtype=np.float64),
            steps=read_steps(files[STEPS], len(contributors), len(tasks)),
            details={key: value for key, value in manifest.items() if key not in MANIFEST_KEYS},
            complete=manifest["complete"],
            stopped=manifest["stopped"],
            beside=read_valuations(files[VALUATIONS], contributors, tasks, stated) if stated else {},
            standard_errors=standard_errors,
            telescopes=manifest.get("telescopes", True),
            scores=folder / SCORES if SCORES in manifest["tables"] else None,
        )
        if not np.allclose(values, record.values, rtol=1e-9, atol=1e-12):
            raise RecordError(f"{folder / VALUES}: the values are not the sums of the steps in {folder / STEPS}")
        # The files, not a fresh serialisation, are what was hashed: another pyarrow may write other bytes.
        record.__dict__["_files"] = files
        if record.scores is not None:
            record.__dict__["_scores_sha256"] = manifest["tables"][SCORES]
        return record
