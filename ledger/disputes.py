"""Disputes: a contributor claims money that a settlement gave to another, or to the house; it waits until decided."""

from __future__ import annotations

from sqlmodel import Session, col, or_, select

from ledger.models import Dispute, Resolution


def open_disputes(session: Session, contributor: str | None = None, before: int | None = None) -> list[Dispute]:
    """Disputes that nobody has resolved, in their order: all, or those in which a contributor is on either side.

    `before`: as they stood ahead of that entry.
    """
    resolved = select(Resolution.dispute)
    query = select(Dispute)
    if before is not None:
        resolved = resolved.where(Resolution.entry < before)
        query = query.where(Dispute.entry < before)
    if contributor is not None:
        query = query.where(or_(col(Dispute.claimant) == contributor, col(Dispute.respondent) == contributor))
    return list(session.exec(query.where(col(Dispute.entry).not_in(resolved)).order_by(col(Dispute.entry))))


def open_on(session: Session, settlement: int, before: int | None = None) -> list[Dispute]:
    """The open disputes about one settlement, named by its entry: while there is one, it is not reversed."""
    return [dispute for dispute in open_disputes(session, before=before) if dispute.settlement == settlement]
