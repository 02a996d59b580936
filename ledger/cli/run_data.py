"""A run's folder, and the registered data that it was trained on, as far as its contributors still consent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attribution.record import MANIFEST, RunRecord
from attribution.training.keeping import KeepList
from attribution.training.sources import Source
from ledger import registry
from ledger.cli.output import warn
from ledger.cli.registered_data import Datasets, dataset_source
from ledger.database import Ledger
from ledger.errors import LedgerError, UnknownDatasetError
from ledger.instants import format_instant
from ledger.models import Dataset

RECORD = "record"  # where the trainer puts it


class FilteredRunError(LedgerError):
    """The run was trained on what a keep list left, and another list, or none, is given."""

    def __init__(self, needed: str | None, given: str | None) -> None:
        self.needed, self.given = needed, given
        wanted = f"on the keep list {needed[:12]}" if needed else "on all its data, not on a keep list"
        remedy = "leave --keep out" if needed is None else "give it with --keep"
        super().__init__(f"the run was trained {wanted}: {remedy}" + (f" ({given[:12]} is another)" if given else ""))


def run_folder(run: Path) -> Path:
    """The folder that the trainer wrote, from its path or the record's in it."""
    return run.parent if (run / MANIFEST).is_file() and run.name == RECORD else run


def run_record(run: Path) -> RunRecord:
    """The record in a run's folder, or in one that another loop saved. Raises `RecordError`."""
    return RunRecord.load(run / RECORD if (run / RECORD / MANIFEST).is_file() else run)


def run_sources(books: Ledger, record: RunRecord, players: Sequence[str] | None = None) -> list[Source]:
    """Every player's datasets, or those of some, as they were registered, in the order in which the run read them.

    What is not registered, or not consented to any more, is left out and named on standard error. Raises
    `ChangedDataError`, `NoFilesError` and `SourceError` for files that are not what was registered.
    """
    now = format_instant(books.clock())
    found: dict[str, list[Dataset]] = {}
    stated = record.details.get("data") or {}
    with books.reading() as session:
        for player in record.contributors if players is None else players:
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


def kept_sources(record: RunRecord, sources: list[Source], keep: Path | None) -> list[Source]:
    """The sources without what the run's keep list left out. Raises `FilteredRunError` for another list, or none."""
    needed = (record.details.get("keep") or {}).get("sha256")
    given = None if keep is None else KeepList.load(keep)
    hash = None if given is None else given.sha256
    if needed != hash:
        raise FilteredRunError(needed, hash)
    return sources if given is None else [given.of(source) for source in sources]
