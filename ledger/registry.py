"""Who may be paid, what they supplied, whether they still consent, and what runs are measured on.

Every fact is an entry of the journal first and a row second, so that a changed row no longer matches its entry.
All functions take a session of `Ledger.writing` (those that only read: of either kind).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import TypeVar

from sqlalchemy import func, insert
from sqlmodel import Session, col, select

from ledger import journal, personal
from ledger.canonical import canonical
from ledger.errors import (
    AssetError,
    ConsentError,
    DuplicateDatasetError,
    DuplicateError,
    EmptyDatasetError,
    IdentifierError,
    SettingError,
    UnknownContributorError,
    UnknownDatasetError,
    UnknownObjectiveError,
    WeightError,
)
from ledger.fingerprint import HASH_BYTES, Fingerprint, fingerprint_records
from ledger.instants import parse_instant
from ledger.licences import parse_licence
from ledger.models import (
    Commodity,
    Consent,
    Contributor,
    Dataset,
    DatasetRecord,
    Entry,
    Objective,
    ObjectiveTask,
    PersonalData,
    RegistryRow,
    Setting,
)
from ledger.money import NAT, NAT_EXPONENT, Asset

TOLERANCE = "tolerance"

R = TypeVar("R", bound=RegistryRow)
_IDENTIFIER = re.compile(r"[a-z0-9]+(?:[-_.][a-z0-9]+)*")
_DECIMAL = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_BATCH = 500  # rows or parameters of one statement


@dataclass(frozen=True)
class Overlap:
    """Records that a dataset shares with a registered one, copies counted as far as both hold them."""

    fingerprint: str
    contributor: str
    name: str
    shared_records: int


@dataclass(frozen=True)
class RegisteredDataset:
    """A dataset as it was registered, and what it shares with those before it, most first."""

    dataset: Dataset
    overlaps: list[Overlap]


@dataclass(frozen=True)
class Task:
    """One task of an objective to be: its records, and where they were read from."""

    name: str
    records: Iterable[str]
    paths: Sequence[str]
    weight: str = "1"  # decimal, relative to the sum of all tasks' weights
    text_field: str = "text"
    encoding: str = "utf-8"


@dataclass(frozen=True)
class RegisteredObjective:
    """An objective as it was registered, and the datasets whose records occur in its held-out text."""

    objective: Objective
    tasks: list[ObjectiveTask]
    leaks: Mapping[str, list[Overlap]]  # by task; only tasks that share a record with a dataset


def start(session: Session, tolerance: str) -> None:
    """The first entries of a new ledger: its settings, and the commodity nat. Raises `SettingError`."""
    register(session, Setting(name=TOLERANCE, value=_tolerance(tolerance), entry=0))
    register(session, Commodity(code=NAT, exponent=NAT_EXPONENT, entry=0))


def tolerance(session: Session) -> str:
    """The largest \\|gap\\| / \\|improvement\\| at which a run is settled, as decimal text."""
    setting = session.get(Setting, TOLERANCE)
    if setting is None:
        raise SettingError(TOLERANCE, "", "is missing from the ledger; run `ghostledger audit`")
    return _tolerance(setting.value)


def _tolerance(value: str) -> str:
    if not _DECIMAL.fullmatch(value) or Decimal(value) > 1:
        raise SettingError(TOLERANCE, value, "must be a plain decimal number between 0 and 1, such as 0.01")
    return value


def identifier(what: str, name: str) -> str:
    """The name itself, where it is fit to be one. Raises `IdentifierError`."""
    if len(name) > 64 or not _IDENTIFIER.fullmatch(name):
        raise IdentifierError(what, name)
    return name


def use_asset(session: Session, asset: Asset) -> Commodity:
    """The asset as a commodity of this ledger, made at its first use. Raises `AssetError` if its exponent changed."""
    known = session.get(Commodity, asset.code)
    if known is None:
        return register(session, Commodity(code=asset.code, exponent=asset.exponent, entry=0))
    if known.exponent != asset.exponent:
        raise AssetError(asset.code, f"has {known.exponent} decimals in this ledger, not {asset.exponent}")
    return known


# Contributors


def add_contributor(session: Session, id: str, name: str | None = None) -> Contributor:
    """Add a contributor; the name defaults to the id. The same again returns the first.

    Raises `IdentifierError`, and `DuplicateError` if the id is taken under another name.
    """
    identifier("contributor", id)
    known = session.get(Contributor, id)
    if known is not None:
        if personal.name_of(session, id) != (name or id):
            raise DuplicateError("contributor", id)
        return known
    salt, commitment = personal.commit(name or id)
    made = register(session, Contributor(id=id, name_commitment=commitment, entry=0))
    session.add(PersonalData(contributor=id, name=name or id, salt=salt))
    session.flush()
    return made


def contributor(session: Session, id: str) -> Contributor:
    """The contributor with this id. Raises `UnknownContributorError`."""
    found = session.get(Contributor, id)
    if found is None:
        raise UnknownContributorError([id])
    return found


def contributors(session: Session) -> list[Contributor]:
    """All contributors, by id."""
    return list(session.exec(select(Contributor).order_by(col(Contributor.id))))


# Datasets


def register_dataset(
    session: Session,
    contributor_id: str,
    records: Iterable[str],
    *,
    name: str,
    licence: str,
    consent_given_at: date | datetime | str | None,
    paths: Sequence[str] = (),
    text_field: str = "text",
    encoding: str = "utf-8",
) -> RegisteredDataset:
    """Register what a contributor supplied; `records` are read once and not kept.

    `consent_given_at` None registers without consent, which can be given later. Raises `UnknownContributorError`,
    `LicenceError`, `InstantError`, `RecordTextError`, `EmptyDatasetError`, and `DuplicateDatasetError` where the same
    records are registered already, by whomever.
    """
    owner = contributor(session, contributor_id)
    expression = parse_licence(licence)
    given_at = None if consent_given_at is None else parse_instant(consent_given_at)
    found = fingerprint_records(records)
    if not found.record_count:
        raise EmptyDatasetError(name)
    twin = session.exec(select(Dataset).where(Dataset.fingerprint == found.fingerprint)).first()
    if twin is not None:
        raise DuplicateDatasetError(twin.fingerprint, twin.contributor, twin.name, twin.entry)
    overlaps = overlaps_of(session, found)
    last = session.exec(select(Dataset.id).order_by(col(Dataset.id).desc())).first()
    dataset = register(
        session,
        Dataset(
            id=(last or 0) + 1,
            fingerprint=found.fingerprint,
            contributor=owner.id,
            name=name,
            licence=expression,
            record_count=found.record_count,
            byte_count=found.byte_count,
            source=_source(paths, text_field, encoding),
            entry=0,
        ),
    )
    rows = [{"dataset": dataset.id, "hash": hash, "copies": copies} for hash, copies in found.copies()]
    for begin in range(0, len(rows), 10_000):
        session.connection().execute(insert(DatasetRecord), rows[begin : begin + 10_000])
    if given_at is not None:
        _change_consent(session, dataset, "given", given_at)
    return RegisteredDataset(dataset, overlaps)


def overlaps_of(session: Session, found: Fingerprint) -> list[Overlap]:
    """The registered datasets that share records with what was read, most first. The dataset itself is one of them."""
    shared: dict[int, int] = {}
    for batch in _batches(found):
        columns = select(DatasetRecord.dataset, DatasetRecord.hash, DatasetRecord.copies)
        for dataset, hash, copies in session.exec(columns.where(col(DatasetRecord.hash).in_(list(batch)))):
            shared[dataset] = shared.get(dataset, 0) + min(copies, batch[hash])
    found_in = {row.id: row for row in datasets(session) if row.id in shared}
    overlaps = [
        Overlap(found_in[id].fingerprint, found_in[id].contributor, found_in[id].name, count)
        for id, count in shared.items()
    ]
    return sorted(overlaps, key=lambda overlap: (-overlap.shared_records, overlap.fingerprint))


def dataset(session: Session, fingerprint: str) -> Dataset:
    """The dataset with this fingerprint, or with the only one that begins so. Raises `UnknownDatasetError`."""
    if not re.fullmatch(r"[0-9a-f]{4,64}", fingerprint):
        raise UnknownDatasetError(
            fingerprint, "a fingerprint is 64 hexadecimal digits, of which the first 4 or more will do"
        )
    found = list(session.exec(select(Dataset).where(col(Dataset.fingerprint).startswith(fingerprint)).limit(2)))
    if len(found) != 1:
        raise (
            UnknownDatasetError(fingerprint, "several begin so; give more digits")
            if found
            else UnknownDatasetError(fingerprint)
        )
    return found[0]


def datasets(session: Session, contributor_id: str | None = None) -> list[Dataset]:
    """All datasets, or a contributor's, in the order of registration."""
    query = select(Dataset).order_by(col(Dataset.id))
    if contributor_id is not None:
        query = query.where(Dataset.contributor == contributor_id)
    return list(session.exec(query))


# Consent


def give_consent(session: Session, fingerprint: str, at: date | datetime | str) -> Consent:
    """Record consent from an instant on. Raises `UnknownDatasetError`, `InstantError`, `ConsentError`."""
    return _change_consent(session, dataset(session, fingerprint), "given", parse_instant(at))


def withdraw_consent(session: Session, fingerprint: str, at: date | datetime | str) -> Consent:
    """Record that consent ends at an instant. Raises `UnknownDatasetError`, `InstantError`, `ConsentError`."""
    return _change_consent(session, dataset(session, fingerprint), "withdrawn", parse_instant(at))


def consents(session: Session, fingerprint: str, *, before: int | None = None) -> list[Consent]:
    """A dataset's changes of consent in their order; with `before`, those known when that entry was made."""
    query = select(Consent).where(Consent.dataset == fingerprint)
    if before is not None:
        query = query.where(Consent.entry < before)
    return list(session.exec(query.order_by(col(Consent.effective_at), col(Consent.entry))))


def had_consent(session: Session, fingerprint: str, at: str, *, before: int | None = None) -> bool:
    """Whether there was consent for a dataset at an instant; with `before`, as known when that entry was made."""
    changes = [change for change in consents(session, fingerprint, before=before) if change.effective_at <= at]
    return bool(changes) and changes[-1].change == "given"


def _change_consent(session: Session, dataset: Dataset, change: str, at: str) -> Consent:
    earlier = consents(session, dataset.fingerprint)
    if earlier and at < earlier[-1].effective_at:
        raise ConsentError(
            dataset.fingerprint, f"was {earlier[-1].change} from {earlier[-1].effective_at}, which is after {at}"
        )
    given = bool(earlier) and earlier[-1].change == "given"
    if change == "given" and given:
        raise ConsentError(dataset.fingerprint, f"is given already, since {earlier[-1].effective_at}")
    if change == "withdrawn" and not given:
        raise ConsentError(dataset.fingerprint, "is not given, so it cannot be withdrawn")
    row = Consent(dataset=dataset.fingerprint, change=change, effective_at=at, entry=0)
    return register(session, row, key=f"consent:{dataset.fingerprint}:{len(earlier) + 1}")


# Objectives


def add_objective(session: Session, id: str, tasks: Sequence[Task]) -> RegisteredObjective:
    """Register an objective and its tasks, in order; their records are read once and not kept.

    Raises `IdentifierError`, `DuplicateError`, `WeightError`, `EmptyDatasetError`, `RecordTextError`.
    """
    identifier("objective", id)
    if session.get(Objective, id) is not None:
        raise DuplicateError("objective", id)
    if not tasks:
        raise UnknownObjectiveError(id, "needs at least one task")
    for number, task in enumerate(tasks):
        identifier("task", task.name)
        if task.name in {other.name for other in tasks[:number]}:
            raise DuplicateError("task", task.name)
        _weight(task.name, task.weight)
    objective = register(session, Objective(id=id, task_count=len(tasks), entry=0))
    rows: list[ObjectiveTask] = []
    leaks: dict[str, list[Overlap]] = {}
    for task in tasks:
        found = fingerprint_records(task.records)
        if not found.record_count:
            raise EmptyDatasetError(task.name)
        shared = overlaps_of(session, found)
        if shared:
            leaks[task.name] = shared
        row = ObjectiveTask(
            objective=id,
            task=task.name,
            weight=task.weight,
            fingerprint=found.fingerprint,
            record_count=found.record_count,
            byte_count=found.byte_count,
            source=_source(task.paths, task.text_field, task.encoding),
            entry=0,
        )
        rows.append(register(session, row))
    return RegisteredObjective(objective, rows, leaks)


def objective(session: Session, id: str) -> Objective:
    """The objective with this id. Raises `UnknownObjectiveError`."""
    found = session.get(Objective, id)
    if found is None:
        raise UnknownObjectiveError(id)
    return found


def objectives(session: Session) -> list[Objective]:
    """All objectives, by id."""
    return list(session.exec(select(Objective).order_by(col(Objective.id))))


def objective_tasks(session: Session, id: str) -> list[ObjectiveTask]:
    """An objective's tasks in the order in which they were given."""
    query = select(ObjectiveTask).where(ObjectiveTask.objective == id)
    return list(session.exec(query.order_by(col(ObjectiveTask.entry))))


def task_weights(tasks: Sequence[ObjectiveTask]) -> dict[str, Fraction]:
    """The tasks' weights, exact, summing to 1. Raises `WeightError`."""
    weights = {task.task: _weight(task.task, task.weight) for task in tasks}
    total = sum(weights.values())
    return {task: weight / total for task, weight in weights.items()}


def _weight(task: str, weight: str) -> Fraction:
    if not _DECIMAL.fullmatch(weight) or not Decimal(weight):
        raise WeightError(task, weight)
    return Fraction(weight)


# Rows and their entries


def recorded_at(session: Session, row: RegistryRow) -> str:
    """When the journal recorded a row."""
    entry = session.get(Entry, row.entry)
    return entry.recorded_at if entry else ""


def register(
    session: Session, row: R, *, key: str | None = None, reason: str | None = None, repeatable: bool = False
) -> R:
    """Add a row and the entry that commits to it. What may be said again of the same subject is `repeatable`."""
    kind = row.entry_kind
    subject = row.subject()
    if repeatable:
        said = select(func.count()).where(Entry.kind == kind, Entry.subject == subject)
        key = f"{kind}:{subject}:{session.exec(said).one() + 1}"
    posted = journal.post(
        session, kind=kind, subject=subject, key=key or f"{kind}:{subject}", payload=row.payload(), reason=reason
    )
    row.entry = posted.entry.sequence
    session.add(row)
    session.flush()
    return row


def _source(paths: Sequence[str], text_field: str, encoding: str) -> str:
    return canonical({"paths": [str(path) for path in paths], "text_field": text_field, "encoding": encoding})


def _batches(found: Fingerprint) -> Iterator[dict[bytes, int]]:
    batch: dict[bytes, int] = {}
    for hash, copies in found.copies():
        assert len(hash) == HASH_BYTES
        batch[hash] = copies
        if len(batch) == _BATCH:
            yield batch
            batch = {}
    if batch:
        yield batch
