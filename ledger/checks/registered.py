"""The registry: every row against its entry, names against their commitments, records against their fingerprint."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from sqlmodel import Session, col, func, select

from ledger.checks.fault import Fault, differences, stated
from ledger.checks.streams import InStep, stream
from ledger.errors import StoredAmountError
from ledger.fingerprint import hasher
from ledger.models import (
    REGISTRY,
    Contributor,
    Dataset,
    DatasetRecord,
    Entry,
    Estate,
    Group,
    Objective,
    ObjectiveTask,
    PersonalData,
    RegistryRow,
)
from ledger.personal import Opening

ROWS, NAMES, RECORDS = "registry", "names", "dataset records"
REGISTRY_CLAIMS = {
    ROWS: "every registered row is what its entry says, and those whom it names are registered",
    NAMES: "every name that was not erased is the one that its contributor's entry commits to",
    RECORDS: "every dataset's record hashes have its fingerprint and its count",
}
_SHOWN = 12  # digits of a hash


def registry_faults(session: Session) -> Iterator[Fault]:
    """What does not hold in the registry."""
    for table in REGISTRY:
        yield from _row_faults(session, table)
    for objective in session.exec(select(Objective)):
        tasks = session.exec(select(func.count()).where(ObjectiveTask.objective == objective.id)).one()
        if tasks != objective.task_count:
            yield Fault(ROWS, f"objective {objective.id!r}: has {tasks} tasks, not {objective.task_count}")
    yield from _people_faults(session)
    yield from _name_faults(session)
    yield from _record_faults(session)


def _row_faults(session: Session, table: type[RegistryRow]) -> Iterator[Fault]:
    kind = table.entry_kind
    entered = select(table, Entry).outerjoin(Entry, col(Entry.sequence) == col(table.entry))
    rows: Any = session.exec(entered.order_by(col(table.entry)).execution_options(yield_per=1000))
    try:
        for row, entry in rows:
            yield from _one(kind, row, entry)
    except StoredAmountError as error:
        yield Fault(ROWS, f"a {kind} cannot be read, nor those after it: {error}")
    missing = select(Entry).where(Entry.kind == kind, col(Entry.sequence).not_in(select(table.entry)))
    for entry in session.exec(missing):
        yield Fault(ROWS, f"{kind} {entry.subject!r}: the row that entry {entry.sequence} made is missing")


def _one(kind: str, row: RegistryRow, entry: Entry | None) -> Iterator[Fault]:
    name = f"{kind} {row.subject()!r}"
    if entry is None or entry.kind != kind:
        yield Fault(ROWS, f"{name}: entry {row.entry} is not the {kind} entry that should have made it")
        return
    if entry.subject != row.subject():
        yield Fault(ROWS, f"{name}: its entry {row.entry} is about {entry.subject!r}")
    for difference in differences(dict(row.payload()), stated(entry) or {}):
        yield Fault(ROWS, f"{name}: the row and its entry {row.entry} differ: {difference}")


def _people_faults(session: Session) -> Iterator[Fault]:
    """Payees and members are named inside JSON, where no foreign key holds them."""
    named = [(f"estate of {row.contributor!r}", row.entry, row.payees) for row in session.exec(select(Estate))]
    named += [(f"group {row.id!r}", row.entry, row.members) for row in session.exec(select(Group))]
    for what, entry, text in named:
        try:
            people = list(json.loads(text))
        except (ValueError, TypeError):
            yield Fault(ROWS, f"{what}, entry {entry}: {text!r} cannot be read")
            continue
        for person in people:
            if not isinstance(person, str) or session.get(Contributor, person) is None:
                yield Fault(ROWS, f"{what}, entry {entry}: names {person!r}, who is not registered")


def _name_faults(session: Session) -> Iterator[Fault]:
    query = select(PersonalData, Contributor).outerjoin(Contributor, col(Contributor.id) == PersonalData.contributor)
    rows: Any = session.exec(query.order_by(col(PersonalData.contributor)).execution_options(yield_per=1000))
    for row, contributor in rows:
        if contributor is None:
            yield Fault(NAMES, f"a name is kept of {row.contributor!r}, who is not registered")
            continue
        found = Opening(str(row.name), str(row.salt)).commitment
        if found != contributor.name_commitment:
            told = "salt is none" if found is None else f"name and salt give {found[:_SHOWN]}"
            committed = str(contributor.name_commitment)[:_SHOWN]
            yield Fault(
                NAMES, f"contributor {row.contributor!r}: the {told}, entry {contributor.entry} commits to {committed}"
            )


def _record_faults(session: Session) -> Iterator[Fault]:
    columns: Any = (DatasetRecord.dataset, DatasetRecord.hash, DatasetRecord.copies)
    ordered = (col(DatasetRecord.dataset), col(DatasetRecord.hash))
    records = InStep(stream(session, select(*columns).order_by(*ordered)))
    datasets = select(Dataset.id, Dataset.fingerprint, Dataset.record_count).order_by(col(Dataset.id))
    for id, fingerprint, record_count in stream(session, datasets):
        yield from _stray_faults(records.before(id))
        digest, count, damaged = hasher(record_count), 0, False
        for _, hash, copies in records.of(id):
            if isinstance(hash, bytes) and isinstance(copies, int):
                digest.update(hash * copies)
                count += copies
            elif not damaged:
                damaged = True
                yield Fault(RECORDS, f"dataset {fingerprint}: a record's row is damaged")
        if count != record_count:
            yield Fault(RECORDS, f"dataset {fingerprint}: holds {count} record hashes, not {record_count}")
        elif digest.hexdigest() != fingerprint:
            yield Fault(RECORDS, f"dataset {fingerprint}: its record hashes have another fingerprint")
    yield from _stray_faults(records.before(None))


def _stray_faults(records: Iterable[Any]) -> Iterator[Fault]:
    for dataset, *_ in records:
        yield Fault(RECORDS, f"a record belongs to dataset number {dataset}, which does not exist")
