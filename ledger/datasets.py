"""Datasets: what contributors supplied, known by fingerprint, and the records that several of them hold."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlmodel import Session, col, select

from ledger.batches import batches
from ledger.errors import UnknownDatasetError
from ledger.fingerprint import Fingerprint
from ledger.models import Dataset, DatasetRecord

_BATCH = 500  # parameters of one statement


@dataclass(frozen=True)
class Overlap:
    """Records that a dataset shares with a registered one, copies counted as far as both hold them."""

    fingerprint: str
    contributor: str
    name: str
    shared_records: int


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


def overlaps_of(session: Session, found: Fingerprint) -> list[Overlap]:
    """The registered datasets that share records with what was read, most first. The dataset itself is one of them."""
    shared: dict[int, int] = {}
    for batch in map(dict, batches(found.copies(), _BATCH)):
        columns = select(DatasetRecord.dataset, DatasetRecord.hash, DatasetRecord.copies)
        for dataset, hash, copies in session.exec(columns.where(col(DatasetRecord.hash).in_(list(batch)))):
            shared[dataset] = shared.get(dataset, 0) + min(copies, batch[hash])
    found_in: dict[int | None, Dataset] = {}
    for ids in batches(shared, _BATCH):
        found_in |= {row.id: row for row in session.exec(select(Dataset).where(col(Dataset.id).in_(ids)))}
    overlaps = [
        Overlap(found_in[id].fingerprint, found_in[id].contributor, found_in[id].name, count)
        for id, count in shared.items()
    ]
    return sorted(overlaps, key=lambda overlap: (-overlap.shared_records, overlap.fingerprint))
