"""A run's displacements, as its record pins them."""

from __future__ import annotations

from pathlib import Path

from attribution.displacements import FILE, Displacements
from attribution.errors import RecordError
from attribution.folder import file_sha256
from attribution.record import RunRecord
from attribution.uses.errors import MissingFromRunError


def displacements_of(record: RunRecord, run: Path) -> Displacements:
    """What each contributor did to the parameters, from the folder `run` that the trainer wrote.

    Raises `MissingFromRunError` where the run kept none, `RecordError` for a file that is not the record's.
    """
    stated, path = record.details.get("displacements"), run / FILE
    if stated is None:
        remedy = "train it with --displacements" if record.complete else "only complete runs keep them"
        raise MissingFromRunError(run, "displacements of its contributors", remedy)
    if not path.is_file():
        raise MissingFromRunError(run, f"file {FILE}", "give the folder that the trainer wrote")
    if file_sha256(path) != stated["sha256"]:
        raise RecordError(f"{path}: changed since it was written: its SHA-256 is not the manifest's")
    found = Displacements.load(path)
    if found.contributors != record.contributors:
        raise RecordError(f"{path}: names other contributors than the record")
    return found
