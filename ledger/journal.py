"""The journal, and its only writer: balanced per commodity, append-only, chained by hash (`ledger/canonical.py`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import bindparam, func, insert, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import make_transient_to_detached
from sqlmodel import Session, col, select

from ledger import accounts
from ledger.batches import batches
from ledger.bulk import add_rows
from ledger.canonical import GENESIS, Request, entry_hash
from ledger.errors import (
    AccountLimitError,
    AccountShutError,
    FutureEventError,
    HeldAccountError,
    IdempotencyConflictError,
    ReversalError,
    UnknownEntryError,
)
from ledger.instants import format_instant
from ledger.lines import Line, mirrored
from ledger.models import REGISTRY, Entry, Head, Part, Period, Posting
from ledger.requests import Ready, ready

REVERSAL = "reversal"
_REGISTRY_KINDS = frozenset(row.entry_kind for row in REGISTRY)
_HEAD = select(Head.count, Head.hash)
_RECORDED_AT = select(Entry.recorded_at).where(Entry.sequence == bindparam("entry"))


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
    asked = ready(
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
    content = asked.content
    made = _next(session, asked.request, key, content)
    with session.connection().begin_nested():  # a refusal leaves nothing behind, whatever is made of it
        earlier = _claim(session, made)
        if earlier is None:
            _write(session, made, asked)
    if earlier is None:
        make_transient_to_detached(made)
        session.add(made)  # as a row that is stored already
        return Posted(made, repeated=False)
    if earlier.content != content:
        raise IdempotencyConflictError(key, earlier.sequence)
    return Posted(earlier, repeated=True)


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
    moved nothing, and `AccountLimitError` where what it gave is no longer there.
    """
    original = entry(session, sequence)
    if original.kind == REVERSAL or original.kind in _REGISTRY_KINDS:
        raise ReversalError(sequence, f"it is a {original.kind} entry")
    lines = lines_of(session, sequence)
    if not lines:
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


# Writing


def _next(session: Session, request: Request, key: str, content: str) -> Entry:
    """The entry that comes after the last one, not stored yet."""
    # Locking the head makes writers queue up, on servers too (`Ledger.writing` has done so before anything was read).
    session.flush()
    last = session.connection().execute(_HEAD.with_for_update()).first()
    sequence, previous = (last[0] + 1, last[1]) if last else (1, GENESIS)
    recorded_at = format_instant(session.info["clock"]())
    if last:  # entries are recorded in order, also where the clock went back
        before = session.connection().execute(_RECORDED_AT, {"entry": last[0]}).scalar_one()
        recorded_at = max(recorded_at, before)
    event_at = _event_at(session, request.kind, request.stated_at, recorded_at)
    return Entry(
        sequence=sequence,
        recorded_at=recorded_at,
        event_at=event_at,
        key=key,
        content=content,
        previous=previous,
        hash=entry_hash(sequence, recorded_at, event_at, key, content, previous),
        **request.__dict__,
    )


def _event_at(session: Session, kind: str, stated_at: str | None, recorded_at: str) -> str:
    if stated_at is None:
        return recorded_at
    if stated_at > recorded_at:
        raise FutureEventError(kind, stated_at, recorded_at)
    closed = session.exec(select(func.max(Period.through))).first()
    return recorded_at if closed is not None and stated_at <= closed else stated_at


def _claim(session: Session, made: Entry) -> Entry | None:
    """Insert the entry, or return the one that has its key: the database decides, whoever else is writing."""
    connection, claimed = session.connection(), True
    if connection.dialect.name == "postgresql":
        claim = postgresql.insert(Entry).on_conflict_do_nothing(index_elements=["key"]).returning(col(Entry.sequence))
        claimed = connection.execute(claim, made.model_dump()).first() is not None
    else:
        try:
            connection.execute(insert(Entry), made.model_dump())
        except IntegrityError:
            # SQLite undoes the one statement and the transaction goes on; it may have been another rule than the key's.
            if by_key(session, made.key) is None:
                raise
            claimed = False
    return None if claimed else by_key(session, made.key)


def _write(session: Session, made: Entry, asked: Ready) -> None:
    rows: Iterator[dict[str, Any]] = (
        {"entry": made.sequence, "number": number, "contributor": contributor, "payload": payload}
        for number, (contributor, payload) in enumerate(asked.parts, start=1)
    )
    connection = session.connection()
    add_rows(connection, Part, rows)
    for batch in batches(enumerate(asked.lines, start=1), accounts.BATCH):
        add_rows(connection, Posting, _postings(session, made.sequence, batch))
    if made.sequence == 1:
        connection.execute(insert(Head), {"id": 1, "count": 1, "hash": made.hash})
    else:
        connection.execute(update(Head), {"count": made.sequence, "hash": made.hash})


def _postings(session: Session, sequence: int, numbered: Sequence[tuple[int, Line]]) -> Iterator[dict[str, Any]]:
    keys = [(line.account, line.commodity) for _, line in numbered]
    found = accounts.positions(session, keys)
    if missing := [key for key in keys if key not in found]:
        found |= accounts.open_missing(session, missing, sequence)
    for number, line in numbered:
        position = found[line.account, line.commodity]
        if position.state != "open":
            raise AccountShutError(line.account, line.commodity, position.state)
        moved = line.amount if line.side == position.normal_side else -line.amount
        balance = (position.balance or 0) + moved
        if position.floor is not None and balance < position.floor:
            raise AccountLimitError(line.account, line.commodity, balance, position.floor)
        yield {"entry": sequence, "line": number, **line.__dict__, "balance": balance}
