"""What was published, read from the books: what waits of it, for whom it was, and what was sent for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

from sqlalchemy.orm import aliased
from sqlmodel import Session, col, exists, select

from ledger.errors import PublicationError
from ledger.models import (
    Attempt,
    Distributor,
    Hold,
    Leaf,
    Publication,
    PublicationEnd,
    Receipt,
)
from ledger.publication_entries import INTENDED, LYING, PUBLISHED, REVOKED, Waiting


def waiting_of(session: Session, publication: Publication, ends: Sequence[PublicationEnd]) -> Iterator[Waiting]:
    """What a publication set aside, in the order of its holds, which is by contributor: as of these ends of it.

    Leaves and holds are read side by side: where one is without the other, `PublicationError`.
    """
    made_by = next((end.entry for end in ends if end.change == PUBLISHED), publication.entry)
    kind = LYING[PUBLISHED if made_by != publication.entry else INTENDED]
    leaf_columns: Any = (Leaf.contributor, Leaf.address)
    leaves = select(*leaf_columns).where(Leaf.publication == publication.entry).order_by(col(Leaf.contributor))
    hold_columns: Any = (Hold.account, Hold.id, Hold.amount)
    holds = select(*hold_columns).where(Hold.entry == made_by).order_by(col(Hold.id))
    rows = (session.exec(query.execution_options(yield_per=1000)) for query in (leaves, holds))
    for leaf, hold in zip_longest(*rows):
        if leaf is None or hold is None or hold[0] != f"{kind}:{leaf[0]}":
            raise PublicationError(f"publication {publication.entry}", "its leaves are not its holds; run an audit")
        yield Waiting(*leaf, *hold[1:])


def owner_of(session: Session, distributor: Distributor, address: str) -> str | None:
    """For whom something was ever to be published at an address, if for anybody."""
    query = (
        select(Leaf.contributor)
        .join(Publication, col(Publication.entry) == Leaf.publication)
        .where(Leaf.address == address, Publication.distributor == distributor.id)
    )
    return session.exec(query.limit(1)).first()


def published_for(session: Session, distributor: Distributor, address: str) -> list[int]:
    """The holds of what was published for an address and not revoked, the oldest first."""
    revoked = aliased(PublicationEnd)
    query = (
        select(Leaf.contributor, PublicationEnd.entry)
        .join(Publication, col(Publication.entry) == Leaf.publication)
        .join(PublicationEnd, col(PublicationEnd.publication) == Publication.entry)
        .where(
            Leaf.address == address,
            Publication.distributor == distributor.id,
            PublicationEnd.change == PUBLISHED,
            ~exists(select(revoked.entry).where(revoked.publication == Leaf.publication, revoked.change == REVOKED)),
        )
    )
    found: list[int] = []
    for contributor, entry in session.exec(query.order_by(col(PublicationEnd.entry))).all():
        # One after the other: joined, SQLite would read all of a publication's holds for each address.
        own = select(Hold.id).where(Hold.account == f"{LYING[PUBLISHED]}:{contributor}", Hold.entry == entry)
        found += session.exec(own)
    return found


def attempts_of(session: Session, publication: int) -> list[tuple[Attempt, list[Receipt]]]:
    """The transactions that were made for a publication, and where each was seen, in the order of saving."""
    query = select(Attempt).where(Attempt.publication == publication).order_by(col(Attempt.id))
    return [(attempt, receipts_of(session, attempt.id)) for attempt in session.exec(query).all()]


def receipts_of(session: Session, attempt: int) -> list[Receipt]:
    """Where a transaction was seen, the newest last."""
    return list(session.exec(select(Receipt).where(Receipt.attempt == attempt).order_by(col(Receipt.id))))
