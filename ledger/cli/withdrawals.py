"""A contributor's withdrawal of the data that a run was trained on, booked once for each dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlmodel import Session

from attribution.record import RunRecord
from ledger import registry
from ledger.cli.output import warn
from ledger.consents import checked_change
from ledger.errors import UnknownDatasetError
from ledger.models import Consent, Dataset


@dataclass(frozen=True)
class Withdrawal:
    """The end of the consent to a dataset, and the entry that says so."""

    dataset: str
    contributor: str
    since: str
    entry: int
    before: bool  # it had been withdrawn already


def supplied(session: Session, record: RunRecord, player: str) -> list[Dataset]:
    """The player's datasets in a run; those that are not registered here are named on standard error."""
    found = []
    for fingerprint in (record.details.get("data") or {}).get(player) or []:
        try:
            found.append(registry.dataset(session, fingerprint))
        except UnknownDatasetError:
            warn(f"no withdrawal to book, not registered here: dataset {fingerprint[:12]} of {player}")
    return found


def check(session: Session, datasets: Sequence[Dataset], at: str) -> None:
    """Raise `ConsentError` for a dataset whose consent cannot end at that instant, in stored form."""
    for dataset in datasets:
        if _withdrawn(session, dataset) is None:
            checked_change(session, dataset, "withdrawn", at)


def withdraw(session: Session, datasets: Sequence[Dataset], at: str, reason: str) -> list[Withdrawal]:
    """End the consent to datasets at an instant, for a reason that their entries state; once is enough.

    Raises `ConsentError`.
    """
    found = []
    for dataset in datasets:
        change = _withdrawn(session, dataset)
        before = change is not None
        if change is None:
            change = registry.withdraw_consent(session, dataset.fingerprint, at, reason=reason)
        found.append(Withdrawal(dataset.fingerprint, dataset.contributor, change.effective_at, change.entry, before))
    return found


def _withdrawn(session: Session, dataset: Dataset) -> Consent | None:
    """The withdrawal that holds, if one does."""
    changes = registry.consents(session, dataset.fingerprint)
    return changes[-1] if changes and changes[-1].change == "withdrawn" else None
