"""Consent to the use of datasets, given or withdrawn from an instant on, and as known when an entry was made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import date, datetime

from sqlmodel import Session, col, select

from ledger.batches import batches
from ledger.datasets import dataset
from ledger.errors import ConsentError
from ledger.instants import parse_instant
from ledger.models import Consent, Dataset
from ledger.rows import register

_BATCH = 400  # parameters of one query


def give_consent(session: Session, fingerprint: str, at: date | datetime | str) -> Consent:
    """Record consent from an instant on. Raises `UnknownDatasetError`, `InstantError`, `ConsentError`."""
    return change_consent(session, dataset(session, fingerprint), "given", parse_instant(at))


def withdraw_consent(
    session: Session, fingerprint: str, at: date | datetime | str, *, reason: str | None = None
) -> Consent:
    """Record that consent ends at an instant, and why. Raises `UnknownDatasetError`, `InstantError`, `ConsentError`."""
    return change_consent(session, dataset(session, fingerprint), "withdrawn", parse_instant(at), reason=reason)


def change_consent(session: Session, dataset: Dataset, change: str, at: str, *, reason: str | None = None) -> Consent:
    """Record consent as "given" or "withdrawn" from an instant, in stored form, on. Raises `ConsentError`."""
    earlier = checked_change(session, dataset, change, at)
    row = Consent(dataset=dataset.fingerprint, change=change, effective_at=at, entry=0)
    return register(session, row, key=f"consent:{dataset.fingerprint}:{len(earlier) + 1}", reason=reason)


def checked_change(session: Session, dataset: Dataset, change: str, at: str) -> list[Consent]:
    """The changes so far, of a dataset whose consent can change in this way then. Raises `ConsentError`."""
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
    return earlier


def consents(session: Session, fingerprint: str, *, before: int | None = None) -> list[Consent]:
    """A dataset's changes of consent in their order; with `before`, those known when that entry was made."""
    query = select(Consent).where(Consent.dataset == fingerprint)
    if before is not None:
        query = query.where(Consent.entry < before)
    return list(session.exec(query.order_by(col(Consent.effective_at), col(Consent.entry))))


def had_consent(session: Session, fingerprint: str, at: str, *, before: int | None = None) -> bool:
    """Whether there was consent for a dataset at an instant; with `before`, as known when that entry was made."""
    return bool(consented(session, [fingerprint], at, before=before))


def consented(session: Session, fingerprints: Iterable[str], at: str, *, before: int | None = None) -> set[str]:
    """Those of these datasets for which there was consent at an instant; `before`: as known ahead of that entry."""
    last: dict[str, str] = {}
    for batch in batches(dict.fromkeys(fingerprints), _BATCH):
        query = select(Consent.dataset, Consent.change).where(
            col(Consent.dataset).in_(batch), Consent.effective_at <= at
        )
        if before is not None:
            query = query.where(Consent.entry < before)
        last |= dict(session.exec(query.order_by(col(Consent.effective_at), col(Consent.entry))).all())
    return {fingerprint for fingerprint, change in last.items() if change == "given"}


def supplied(session: Session, contributors: Iterable[str]) -> dict[str, list[str]]:
    """The fingerprints of all datasets of each of these contributors, in the order of registration."""
    found: dict[str, list[str]] = defaultdict(list)
    for batch in batches(contributors, _BATCH):
        query = select(Dataset.contributor, Dataset.fingerprint).where(col(Dataset.contributor).in_(batch))
        for contributor, fingerprint in session.exec(query.order_by(col(Dataset.id))):
            found[contributor].append(fingerprint)
    return dict(found)
