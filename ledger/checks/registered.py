"""The registry: every row against the entry that committed it, and every dataset's records against its fingerprint."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlmodel import Session, col, func, select

from ledger.checks.fault import Fault, differences, stated
from ledger.fingerprint import hasher
from ledger.models import REGISTRY, Dataset, DatasetRecord, Entry, Objective, ObjectiveTask, RegistryRow

ROWS, RECORDS = "registry", "dataset records"
REGISTRY_CLAIMS = {
    ROWS: "every setting, asset, contributor, dataset, consent and objective is what its entry says",
    RECORDS: "every dataset's record hashes have its fingerprint and its count",
}


def registry_faults(session: Session) -> Iterator[Fault]:
    """What does not hold in the registry."""
    for table in REGISTRY:
        yield from _row_faults(session, table)
    for objective in session.exec(select(Objective)):
        tasks = session.exec(select(func.count()).where(ObjectiveTask.objective == objective.id)).one()
        if tasks != objective.task_count:
            yield Fault(ROWS, f"objective {objective.id!r}: has {tasks} tasks, not {objective.task_count}")
    yield from _record_faults(session)


def _row_faults(session: Session, table: type[RegistryRow]) -> Iterator[Fault]:
    kind = table.entry_kind
    rows: Any = session.exec(select(table).order_by(col(table.entry)).execution_options(yield_per=1000))
    for row in rows:
        entry = session.get(Entry, row.entry)
        name = f"{kind} {row.subject()!r}"
        if entry is None or entry.kind != kind:
            yield Fault(ROWS, f"{name}: entry {row.entry} is not the {kind} entry that should have made it")
            continue
        if entry.subject != row.subject():
            yield Fault(ROWS, f"{name}: its entry {row.entry} is about {entry.subject!r}")
        for difference in differences(dict(row.payload()), stated(entry) or {}):
            yield Fault(ROWS, f"{name}: the row and its entry {row.entry} differ: {difference}")
    missing = select(Entry).where(Entry.kind == kind, col(Entry.sequence).not_in(select(table.entry)))
    for entry in session.exec(missing):
        yield Fault(ROWS, f"{kind} {entry.subject!r}: the row that entry {entry.sequence} made is missing")


def _record_faults(session: Session) -> Iterator[Fault]:
    datasets = {row.id: row for row in session.exec(select(Dataset))}
    digests = {id: hasher(row.record_count) for id, row in datasets.items()}
    counts = dict.fromkeys(datasets, 0)
    columns = select(DatasetRecord.dataset, DatasetRecord.hash, DatasetRecord.copies).order_by(col(DatasetRecord.hash))
    for dataset, hash, copies in session.exec(columns.execution_options(yield_per=10_000)):
        if dataset not in datasets:
            yield Fault(RECORDS, f"a record belongs to dataset number {dataset}, which does not exist")
        elif not isinstance(hash, bytes) or not isinstance(copies, int):
            yield Fault(RECORDS, f"dataset {datasets[dataset].fingerprint}: a record's row is damaged")
        else:
            digests[dataset].update(hash * copies)
            counts[dataset] += copies
    for id, row in datasets.items():
        if counts[id] != row.record_count:
            detail = f"dataset {row.fingerprint}: holds {counts[id]} record hashes, not {row.record_count}"
            yield Fault(RECORDS, detail)
        elif digests[id].hexdigest() != row.fingerprint:
            yield Fault(RECORDS, f"dataset {row.fingerprint}: its record hashes have another fingerprint")
