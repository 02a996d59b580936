"""The files behind registered datasets, read as long as they still are what was registered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlmodel import Session

from attribution.training.sources import Source, TaskSource
from ledger import registry
from ledger.cli.options import located_path
from ledger.cli.output import warn
from ledger.cli.progress import watched
from ledger.database import Ledger
from ledger.errors import LedgerError
from ledger.fingerprint import fingerprint_records
from ledger.instants import format_instant
from ledger.models import Dataset, ObjectiveTask

Records = Iterable[str]


class NoConsentedDataError(LedgerError):
    """There is nothing to train on that its contributor consents to."""

    def __init__(self, contributor: str | None) -> None:
        self.contributor = contributor
        whose = f"contributor {contributor!r} has" if contributor else "there is"
        super().__init__(f"{whose} no dataset that is consented to now; see `ghostledger dataset list`")


class ChangedDataError(LedgerError):
    """The files are no longer what was registered."""

    def __init__(self, what: str, path: Path, registered: str, found: str) -> None:
        self.what, self.path, self.registered, self.found = what, path, registered, found
        super().__init__(
            f"{path}: changed since {what} was registered: its fingerprint was {registered[:12]}, is {found[:12]}; "
            "restore the files, or register what they hold now"
        )


class NoFilesError(LedgerError):
    """A dataset or task was registered without files, so that it cannot be read."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"{what} was registered without files; it cannot be read again")


@dataclass(frozen=True)
class Datasets(Source):
    """One player's datasets, each read in its own way."""

    parts: tuple[Source, ...] = ()

    @classmethod
    def of(cls, player: str, parts: Sequence[Source]) -> Datasets:
        """These datasets, as a player's."""
        paths = tuple(path for part in parts for path in part.paths)
        fingerprints = tuple(found for part in parts for found in part.fingerprints)
        return cls(player, paths, fingerprints, parts=tuple(parts))

    def records(self) -> Iterator[str]:
        """The records of all datasets, in order."""
        for part in self.parts:
            yield from part.records()

    def datasets(self) -> tuple[Source, ...]:
        """The datasets one by one."""
        return self.parts


def consented_datasets(session: Session, books: Ledger, names: Sequence[str]) -> dict[str, list[Dataset]]:
    """The datasets of these contributors that are consented to now; the others are named on standard error."""
    now = format_instant(books.clock())
    found: dict[str, list[Dataset]] = {}
    for name in names:
        registry.contributor(session, name)
        for dataset in registry.datasets(session, name):
            if registry.had_consent(session, dataset.fingerprint, now):
                found.setdefault(name, []).append(dataset)
            else:
                warn(f"left out, not consented to: dataset {dataset.fingerprint[:12]} ({dataset.name}) of {name}")
    return found


def dataset_source(books: Ledger, dataset: Dataset, watch: Callable[[Records], Records] = iter) -> Source:
    """A dataset's files, read once to see that they are what was registered; `watch` may look at what passes.

    Raises `ChangedDataError`, `NoFilesError`, and `SourceError` for what cannot be read.
    """
    paths = tuple(located_path(path, books) for path in dataset.paths)
    source = Source(dataset.contributor, paths, (dataset.fingerprint,), dataset.text_field, dataset.encoding)
    what = f"dataset {dataset.fingerprint[:12]} of {dataset.contributor!r}"
    _check_unchanged(what, paths, dataset.fingerprint, watch(source.records()))
    return source


def task_sources(books: Ledger, rows: Sequence[ObjectiveTask]) -> list[TaskSource]:
    """The held-out texts of an objective's tasks, checked in the same way."""
    weights = registry.task_weights(rows)
    tasks = []
    for row in rows:
        paths = tuple(located_path(path, books) for path in row.paths)
        task = TaskSource(row.task, paths, float(weights[row.task]), row.fingerprint, row.text_field, row.encoding)
        _check_unchanged(f"task {row.task!r} of objective {row.objective!r}", paths, row.fingerprint, task.records())
        tasks.append(task)
    return tasks


def _check_unchanged(what: str, paths: Sequence[Path], registered: str, read: Records) -> None:
    if not paths:
        raise NoFilesError(what)
    found = fingerprint_records(watched(read, str(paths[0])))
    if found.fingerprint != registered:
        raise ChangedDataError(what, paths[0], registered, found.fingerprint)
