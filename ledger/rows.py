"""Registered facts: each is an entry of the journal first and a row second, so that a changed row no longer matches.

All functions take a session of `Ledger.writing` (those that only read: of either kind).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

from sqlalchemy import func
from sqlmodel import Session, select

from ledger import journal
from ledger.canonical import canonical
from ledger.errors import IdentifierError
from ledger.models import Entry, RegistryRow

R = TypeVar("R", bound=RegistryRow)
_IDENTIFIER = re.compile(r"[a-z0-9]+(?:[-_.][a-z0-9]+)*")


def identifier(what: str, name: str) -> str:
    """The name itself, where it is fit to be one. Raises `IdentifierError`."""
    if len(name) > 64 or not _IDENTIFIER.fullmatch(name):
        raise IdentifierError(what, name)
    return name


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


def recorded_at(session: Session, row: RegistryRow) -> str:
    """When the journal recorded a row."""
    entry = session.get(Entry, row.entry)
    return entry.recorded_at if entry else ""


def source(paths: Sequence[str], text_field: str, encoding: str) -> str:
    """Where records were read from, and how: canonical JSON, as the columns `source` hold it."""
    return canonical({"paths": [str(path) for path in paths], "text_field": text_field, "encoding": encoding})
