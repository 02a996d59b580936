"""The journal, and its only writer: balanced per commodity, append-only, chained by hash (`ledger/canonical.py`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import func, insert, tuple_, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from ledger import accounts
from ledger.batches import batches
from ledger.canonical import (
    GENESIS,
    Request,
    canonical,
    content_hash,
    entry_hash,
    part_leaf,
    posting_leaf,
    root_of,
)
from ledger.errors import (
    AccountLimitError,
    AccountShutError,
    FutureEventError,
    IdempotencyConflictError,
    ReversalError,
    UnbalancedEntryError,
    UnknownEntryError,
)
from ledger.instants import format_instant, parse_instant
from ledger.lines import Line, imbalance, merged, mirrored
from ledger.models import REGISTRY, Entry, Head, Part, Period, Posting

REVERSAL = "reversal"
_REGISTRY_KINDS = frozenset(row.entry_kind for row in REGISTRY)
_BATCH = 400  # accounts of one query
_ROWS = 10_000  # rows of one insert


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
    parts: Sequence[tuple[str, Mapping[str, Any]]] = (),
    lines: Sequence[Line] = (),
    event_at: date | datetime | str | None = None,
    reason: str | None = None,
    reference: str | None = None,
    reverses: int | None = None,
) -> Posted:
    """Append an entry. Lines of one account are merged, lines of nothing left out.

    `parts` are what the entry says about single contributors, as (contributor, payload). `event_at` is when it
    happened, if not now; in a closed period it is booked forward, to now. The same key with the same content again
    returns the first entry. Raises `IdempotencyConflictError` for the same key with other content,
    `UnbalancedEntryError`, `AccountError`, `AccountLimitError`, `AccountShutError`, `InstantError`, `FutureEventError`.
    """
    lines = merged(lines)
    for commodity, (left, right) in imbalance(lines).items():
        raise UnbalancedEntryError(kind, commodity, left, right)
    stated_at = None if event_at is None else parse_instant(event_at)
    request = Request(kind, subject, canonical(dict(payload)), stated_at, reason, reference, reverses)
    texts = [(contributor, canonical(dict(part))) for contributor, part in parts]
    roots = (root_of(part_leaf(*part) for part in texts), root_of(map(posting_leaf, lines)))
    content = content_hash(request, *roots)
    # Locking the head makes writers queue up, on servers too (`Ledger.writing` has done so before anything was read).
    head = session.exec(select(Head).with_for_update().execution_options(populate_existing=True)).first()
    sequence, previous = (head.count + 1, head.hash) if head else (1, GENESIS)
    recorded_at = _now(session, previous)
    made = Entry(
        sequence=sequence,
        kind=kind,
        subject=subject,
        recorded_at=recorded_at,
        event_at=_event_at(session, kind, stated_at, recorded_at),
        stated_at=stated_at,
        reason=reason,
        reference=reference,
        key=key,
        payload=request.payload,
        content=content,
        previous=previous,
        reverses=reverses,
        hash="",
    )
    made.hash = entry_hash(sequence, recorded_at, made.event_at, key, content, previous)
    earlier = _claim(session, made)
    if earlier is not None:
        if earlier.content != content:
            raise IdempotencyConflictError(key, earlier.sequence)
        return Posted(earlier, repeated=True)
    made = entry(session, sequence)
    _insert(
        session,
        Part,
        (
            {"entry": sequence, "number": number, "contributor": contributor, "payload": text}
            for number, (contributor, text) in enumerate(texts, start=1)
        ),
    )
    _insert(session, Posting, _postings(session, sequence, lines))
    if head is None:
        session.add(Head(id=1, count=sequence, hash=made.hash))
        session.flush()
    else:
        session.exec(update(Head).values(count=sequence, hash=made.hash))
    return Posted(made, repeated=False)


def reverse(session: Session, sequence: int, reason: str, *, event_at: date | datetime | str | None = None) -> Posted:
    """Append the mirror image of an entry. Asking again for the same reason returns the first reversal.

    Raises `UnknownEntryError`, `ReversalError` for an entry that was reversed before, is a reversal itself, or
    moved nothing, and `AccountLimitError` where what it gave is no longer there.
    """
    original = entry(session, sequence)
    if original.kind == REVERSAL or original.kind in _REGISTRY_KINDS:
        raise ReversalError(sequence, f"it is a {original.kind} entry")
    earlier = reversal_of(session, sequence)
    if earlier is not None and earlier.reason != reason:
        raise ReversalError(sequence, f"entry {earlier.sequence} reversed it")
    return post(
        session,
        kind=REVERSAL,
        subject=original.subject,
        key=f"reversal:{sequence}",
        payload={"reverses": sequence},
        lines=mirrored(lines_of(session, sequence)),
        event_at=event_at,
        reason=reason,
        reverses=sequence,
    )


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
    rows = session.exec(select(Posting).where(Posting.entry == sequence).order_by(col(Posting.line)))
    return [Line(row.account, row.commodity, row.side, row.amount) for row in rows]  # type: ignore[arg-type]


def parts_of(session: Session, sequence: int, contributor: str | None = None) -> Iterator[Part]:
    """What an entry says about single contributors, in its order, or about one of them."""
    query = select(Part).where(Part.entry == sequence)
    if contributor is not None:
        query = query.where(Part.contributor == contributor)
    yield from session.exec(query.order_by(col(Part.number)).execution_options(yield_per=1000))


def head(session: Session) -> tuple[int, str]:
    """How many entries there are, and the last one's hash: what an outside checkpoint should keep."""
    row = session.get(Head, 1)
    return (row.count, row.hash) if row else (0, GENESIS)


# Writing


def _now(session: Session, previous: str) -> str:
    """The present moment, or the last entry's where the clock went back: entries are recorded in order."""
    now = format_instant(session.info["clock"]())
    last = session.exec(select(Entry.recorded_at).where(Entry.hash == previous)).first()
    return max(now, last or now)


def _event_at(session: Session, kind: str, stated_at: str | None, recorded_at: str) -> str:
    if stated_at is None:
        return recorded_at
    if stated_at > recorded_at:
        raise FutureEventError(kind, stated_at, recorded_at)
    closed = session.exec(select(func.max(Period.through))).first()
    return recorded_at if closed is not None and stated_at <= closed else stated_at


def _claim(session: Session, made: Entry) -> Entry | None:
    """Insert the entry, or return the one that has its key: the database decides, whoever else is writing."""
    values, connection = made.model_dump(), session.connection()
    try:
        if connection.dialect.name == "postgresql":
            claim = postgresql.insert(Entry).values(values).on_conflict_do_nothing(index_elements=["key"])
            if connection.execute(claim.returning(col(Entry.sequence))).first() is not None:
                return None
        else:
            connection.execute(insert(Entry).values(values))
            return None
    except IntegrityError:
        # SQLite undoes the one statement and the transaction goes on; it may have been another rule than the key.
        earlier = session.exec(select(Entry).where(Entry.key == made.key)).first()
        if earlier is None:
            raise
        return earlier
    return session.exec(select(Entry).where(Entry.key == made.key)).one()


def _postings(session: Session, sequence: int, lines: Sequence[Line]) -> Iterator[dict[str, Any]]:
    touched = accounts.accounts_of(session, lines, sequence)
    for name, commodity in accounts.shut(session):
        if (name, commodity) in touched:
            raise AccountShutError(name, commodity, accounts.state(session, name, commodity))
    balances = last_balances(session, touched)
    for number, line in enumerate(lines, start=1):
        account = touched[line.account, line.commodity]
        balance = balances.get((line.account, line.commodity), 0) + _on_normal_side(line, account.normal_side)
        if account.floor is not None and balance < account.floor:
            raise AccountLimitError(line.account, line.commodity, balance, account.floor)
        yield {"entry": sequence, "line": number, **line.__dict__, "balance": balance}


def last_balances(session: Session, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """The present balance of each of these accounts that has one, on its normal side."""
    found: dict[tuple[str, str], int] = {}
    for batch in batches(keys, _BATCH):
        named = tuple_(col(Posting.account), col(Posting.commodity))
        newest = (
            select(Posting.account, Posting.commodity, func.max(Posting.entry))
            .where(named.in_(batch))
            .group_by(col(Posting.account), col(Posting.commodity))
        )
        place = tuple_(col(Posting.account), col(Posting.commodity), col(Posting.entry))
        for posting in session.exec(select(Posting).where(place.in_(newest))):
            found[posting.account, posting.commodity] = posting.balance
    return found


def _on_normal_side(line: Line, normal_side: str) -> int:
    return line.amount if line.side == normal_side else -line.amount


def _insert(session: Session, table: Any, rows: Iterable[dict[str, Any]]) -> None:
    for batch in batches(rows, _ROWS):
        session.connection().execute(insert(table), batch)
