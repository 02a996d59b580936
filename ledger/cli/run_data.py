"""A run's folder, and the registered data that it was trained on, as far as its contributors still consent."""

from __future__ import annotations

from pathlib import Path

from attribution.record import MANIFEST, RunRecord
from attribution.training.sources import Source
from ledger import registry
from ledger.cli.output import warn
from ledger.cli.registered_data import Datasets, dataset_source
from ledger.database import Ledger
from ledger.errors import UnknownDatasetError
from ledger.instants import format_instant
from ledger.models import Dataset

RECORD = "record"  # where the trainer puts it


def run_folder(run: Path) -> Path:
    """The folder that the trainer wrote, from its path or the record's in it."""
    return run.parent if (run / MANIFEST).is_file() and run.name == RECORD else run


def run_record(run: Path) -> RunRecord:
    """The record in a run's folder, or in one that another loop saved. Raises `RecordError`."""
    return RunRecord.load(run / RECORD if (run / RECORD / MANIFEST).is_file() else run)


def run_sources(books: Ledger, record: RunRecord) -> list[Source]:
    """Every player's datasets, as they were registered, in the order in which the run read them.

    What is not registered, or not consented to any more, is left out and named on standard error. Raises
    `ChangedDataError`, `NoFilesError` and `SourceError` for files that are not what was registered.
    """
    now = format_instant(books.clock())
    found: dict[str, list[Dataset]] = {}
    stated = record.details.get("data") or {}
    with books.reading() as session:
        for player in record.contributors:
            for fingerprint in stated.get(player) or []:
                try:
                    dataset = registry.dataset(session, fingerprint)
                except UnknownDatasetError:
                    warn(f"left out, not registered here: dataset {fingerprint[:12]} of {player}")
                    continue
                if registry.had_consent(session, dataset.fingerprint, now):
                    found.setdefault(player, []).append(dataset)
                else:
                    warn(f"left out, not consented to any more: dataset {fingerprint[:12]} of {player}")
    return [
        Datasets.of(player, [dataset_source(books, dataset) for dataset in datasets])
        for player, datasets in found.items()
    ]
