"""The journal, and its only writer: balanced per commodity, append-only, chained by hash (`ledger/canonical.py`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy.orm import make_transient_to_detached
from sqlmodel import Session, col, select

from ledger import accounts
from ledger.canonical import GENESIS
from ledger.errors import (
    HeldAccountError,
    IdempotencyConflictError,
    LedgerError,
    ReversalError,
    UnknownEntryError,
)
from ledger.lines import Line, mirrored
from ledger.models import REGISTRY, Entry, Head, Part, Posting
from ledger.requests import Asked, Ready, ready
from ledger.writer import Writer

REVERSAL = "reversal"
_REGISTRY_KINDS = frozenset(row.entry_kind for row in REGISTRY)
_REQUESTS, _LINES = 500, 5000  # of many entries that are in memory together
_HEAD = select(Head.count, Head.hash)


@dataclass(frozen=True)
class Posted:
    """What came of a request: the entry, and whether an earlier request had made it already."""

    entry: Entry
    repeated: bool


def post(
    session: Session,
    *,
    kind: str,
    subject: str,
    key: str,
    payload: Mapping[str, Any],
    parts: Iterable[tuple[str, Mapping[str, Any]]] = (),
    lines: Iterable[Line] = (),
    event_at: date | datetime | str | None = None,
    reason: str | None = None,
    reference: str | None = None,
    reverses: int | None = None,
) -> Posted:
    """Append an entry. Lines of one account are merged, lines of nothing left out.

    `parts` are what the entry says about single contributors, as (contributor, payload). `event_at` is when it
    happened, if not now; in a closed period it is booked forward, to now. The same key with the same content again
    returns the first entry, whatever has happened since. Raises `IdempotencyConflictError` for the same key with
    other content, `UnbalancedEntryError`, `AmountError`, `EntryTextError`, `InstantError`, `FutureEventError`;
    of its accounts `AccountError`, `AssetError`, `UnknownContributorError`, `AccountShutError`, `AccountLimitError`,
    and `HeldAccountError` where it moves what is set aside without saying so (`ledger/pending.py`).
    """
    asked = Asked(
        kind=kind,
        subject=subject,
        key=key,
        payload=payload,
        parts=parts,
        lines=lines,
        event_at=event_at,
        reason=reason,
        reference=reference,
        reverses=reverses,
    )
    request = ready(asked)
    made = Writer(session).append(request)
    if made is None:
        return Posted(_repeated(session, request), repeated=True)
    entry = Entry(**made)
    make_transient_to_detached(entry)
    session.add(entry)  # as a row that is stored already
    return Posted(entry, repeated=False)


def post_all(session: Session, requests: Iterable[Asked]) -> list[int]:
    """Append many entries, one after the other, in a fraction of the time; returns their numbers in the same order.

    Each is what `post` makes of it, and a key that was used before gives the first entry's number. Requests are read
    as a stream, and nobody else may write to the session meanwhile. Raises what `post` does, and then undoes all of
    the session's transaction.
    """
    writer, made = Writer(session), []
    try:
        for together in _together(map(ready, requests)):
            writer.foresee(together)
            for request in together:
                entry = writer.append(request)
                made.append(entry["sequence"] if entry else _repeated(session, request).sequence)
    except LedgerError:
        session.rollback()
        raise
    return made


def _together(requests: Iterable[Ready]) -> Iterator[list[Ready]]:
    """As many requests at a time as memory may hold."""
    batch, lines = [], 0
    for request in requests:
        batch.append(request)
        lines += len(request.lines)
        if len(batch) == _REQUESTS or lines > _LINES:
            yield batch
            batch, lines = [], 0
    if batch:
        yield batch


def _repeated(session: Session, request: Ready) -> Entry:
    """The entry that has the request's key. Raises `IdempotencyConflictError` where it says something else."""
    earlier = session.exec(select(Entry).where(Entry.key == request.key)).one()
    if earlier.content != request.content:
        raise IdempotencyConflictError(request.key, earlier.sequence)
    return earlier


def reverse(
    session: Session,
    sequence: int,
    reason: str,
    *,
    event_at: date | datetime | str | None = None,
    also: Mapping[str, Any] | None = None,
) -> Posted:
    """Append the mirror image of an entry. Asking again for the same reason returns the first reversal.

    `also` is what the reversal says besides: an entry that made or changed holds is reversed by `holds.reverse`, which
    uses it. Raises `UnknownEntryError`, `ReversalError` for an entry that was reversed before, is a reversal itself, or
    moved nothing (unless `also` is given), and `AccountLimitError` where what it gave is no longer there.
    """
    original = entry(session, sequence)
    if original.kind == REVERSAL or original.kind in _REGISTRY_KINDS:
        raise ReversalError(sequence, f"it is a {original.kind} entry")
    lines = lines_of(session, sequence)
    if not lines and also is None:
        raise ReversalError(sequence, "it moved nothing")
    earlier = reversal_of(session, sequence)
    if earlier is not None and earlier.reason != reason:
        raise ReversalError(sequence, f"entry {earlier.sequence} reversed it")
    try:
        return post(
            session,
            kind=REVERSAL,
            subject=original.subject,
            key=f"{REVERSAL}:{sequence}",
            payload={**(also or {}), "reverses": sequence},
            lines=mirrored(lines),
            event_at=event_at,
            reason=reason,
            reverses=sequence,
        )
    except HeldAccountError as error:
        raise ReversalError(sequence, f"it moved what is set aside ({error.account})") from error


# Reading


def entry(session: Session, sequence: int) -> Entry:
    """The entry with this number. Raises `UnknownEntryError`."""
    found = session.get(Entry, sequence)
    if found is None:
        raise UnknownEntryError(sequence)
    return found


def by_key(session: Session, key: str) -> Entry | None:
    """The entry that a request with this key made, if any."""
    return session.exec(select(Entry).where(Entry.key == key)).first()


def reversal_of(session: Session, sequence: int) -> Entry | None:
    """The entry that reversed this one, if any."""
    return session.exec(select(Entry).where(Entry.reverses == sequence)).first()


def lines_of(session: Session, sequence: int) -> list[Line]:
    """An entry's lines in their order."""
    columns: Any = (Posting.account, Posting.commodity, Posting.side, Posting.amount)
    query = select(*columns).where(Posting.entry == sequence).order_by(col(Posting.line))
    return [Line(*row) for row in session.exec(query)]


def parts_of(session: Session, sequence: int, contributor: str | None = None) -> Iterator[Part]:
    """What an entry says about single contributors, in its order, or about one of them."""
    query = select(Part).where(Part.entry == sequence)
    if contributor is not None:
        query = query.where(Part.contributor == contributor)
    yield from session.exec(query.order_by(col(Part.number)).execution_options(yield_per=1000))


def part_texts(session: Session, sequence: int) -> Iterator[tuple[str, str]]:
    """What an entry says about single contributors, in its order, as contributor and canonical JSON."""
    columns: Any = (Part.contributor, Part.payload)
    query = select(*columns).where(Part.entry == sequence).order_by(col(Part.number))
    yield from session.exec(query.execution_options(yield_per=1000))


def head(session: Session) -> tuple[int, str]:
    """How many entries there are, and the last one's hash: what an outside checkpoint should keep."""
    row = session.connection().execute(_HEAD).first()
    return (row[0], row[1]) if row else (0, GENESIS)


def last_balances(
    session: Session, keys: Iterable[accounts.Key], *, before: int | None = None
) -> dict[accounts.Key, int]:
    """The last balance of each of these accounts that has one, on its normal side; `before`: ahead of that entry."""
    found = accounts.positions(session, keys, before=before)
    return {key: position.balance for key, position in found.items() if position.balance is not None}
