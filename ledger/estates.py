"""Estates: who is paid in a contributor's stead, and in which parts. Payees are contributors themselves.

An estate holds for what becomes payable after its entry. `ledger/policies/estate.py` divides an amount by it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from sqlalchemy import func
from sqlmodel import Session, col, select

from ledger import registry
from ledger.canonical import canonical
from ledger.errors import EstateError
from ledger.models import Estate, Group

LARGEST_PART = 10**9


def set_estate(session: Session, contributor: str, payees: Mapping[str, int], *, reason: str | None = None) -> Estate:
    """Let `payees` be paid in a contributor's stead from now on, each in proportion to a whole number of parts.

    The contributor may be one of them; `{}` gives everything back. What holds already is not said again: the estate
    that said it is returned. Raises `UnknownContributorError`, and `EstateError` for parts that are no whole numbers
    from 1 to 10⁹, for an estate inside an estate, and for a group that would pay nobody.
    """
    registry.contributor(session, contributor)
    for payee, parts in payees.items():
        registry.contributor(session, payee)
        if isinstance(parts, bool) or not isinstance(parts, int) or not 1 <= parts <= LARGEST_PART:
            raise EstateError(contributor, f"{parts!r} parts of {payee!r} are no whole number from 1 to {LARGEST_PART}")
    _refuse_nesting(session, contributor, payees)
    if not payees and session.exec(select(Group.id).where(Group.id == contributor)).first() is not None:
        raise EstateError(contributor, "a group has nobody of its own to pay; name its payees")
    now = _latest(session, contributor, None)
    stated = canonical(dict(payees))
    if now is not None and now.payees == stated:
        return now
    return registry.register(
        session, Estate(contributor=contributor, payees=stated, entry=0), reason=reason, repeatable=True
    )


def estate_of(session: Session, contributor: str, before: int | None = None) -> dict[str, int]:
    """Payees and their parts, by id; empty where the contributor is paid. `before`: as it was ahead of that entry."""
    latest = _latest(session, contributor, before)
    return dict(sorted(json.loads(latest.payees).items())) if latest is not None else {}


def estates(session: Session, before: int | None = None) -> dict[str, dict[str, int]]:
    """Every contributor who has payees, with these and their parts, by id."""
    newest = select(func.max(Estate.entry)).group_by(col(Estate.contributor))
    if before is not None:
        newest = newest.where(Estate.entry < before)
    query = select(Estate).where(col(Estate.entry).in_(newest)).order_by(col(Estate.contributor))
    found = {row.contributor: dict(sorted(json.loads(row.payees).items())) for row in session.exec(query)}
    return {contributor: payees for contributor, payees in found.items() if payees}


def _latest(session: Session, contributor: str, before: int | None) -> Estate | None:
    query = select(Estate).where(Estate.contributor == contributor)
    if before is not None:
        query = query.where(Estate.entry < before)
    return session.exec(query.order_by(col(Estate.entry).desc()).limit(1)).first()


def _refuse_nesting(session: Session, contributor: str, payees: Mapping[str, int]) -> None:
    if not payees:
        return
    holding = estates(session)
    for payee in payees:
        if payee != contributor and payee in holding:
            named = ", ".join(holding[payee])
            raise EstateError(contributor, f"{payee!r} has payees too ({named}); name these here, or give back theirs")
    for other, theirs in holding.items():
        if other != contributor and contributor in theirs:
            raise EstateError(contributor, f"is a payee of {other!r}; change that estate instead")
