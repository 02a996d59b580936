"""Supply: the registration of a dataset, with the consent to its use and what it shares with earlier ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlmodel import Session, col, select

from ledger.bulk import add_rows
from ledger.consents import change_consent
from ledger.contributors import contributor
from ledger.datasets import Overlap, overlaps_of
from ledger.errors import DuplicateDatasetError, EmptyDatasetError
from ledger.fingerprint import fingerprint_records
from ledger.instants import parse_instant
from ledger.licences import parse_licence
from ledger.models import Dataset, DatasetRecord
from ledger.rows import register, source


@dataclass(frozen=True)
class RegisteredDataset:
    """A dataset as it was registered, and what it shares with those before it, most first."""

    dataset: Dataset
    overlaps: list[Overlap]


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
    last = session.exec(select(Dataset.id).order_by(col(Dataset.id).desc()).limit(1)).first()
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
            source=source(paths, text_field, encoding),
            entry=0,
        ),
    )
    rows = ({"dataset": dataset.id, "hash": hash, "copies": copies} for hash, copies in found.copies())
    add_rows(session.connection(), DatasetRecord, rows)
    if given_at is not None:
        change_consent(session, dataset, "given", given_at)
    return RegisteredDataset(dataset, overlaps)
