"""Contributors: whoever supplies data or is paid for it. Their names lie outside the hashes (`ledger/personal.py`)."""

from __future__ import annotations

from sqlmodel import Session, col, select

from ledger import personal
from ledger.errors import DuplicateError, UnknownContributorError
from ledger.models import Contributor, PersonalData
from ledger.rows import identifier, register


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
