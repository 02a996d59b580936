"""The journal, and its only writer: balanced per commodity, append-only, chained by hash.

An entry's two hashes, both over canonical JSON (RFC 8785) with amounts as decimal text::

    content = SHA-256({"kind", "subject", "payload": SHA-256(payload), "postings": [...], "reverses"})
    hash    = SHA-256({"sequence", "recorded_at", "key", "content", "previous"})

`content` says what was asked for, so that the same request with the same key can be told from another; `hash` puts
it in its place behind the entry before. The first entry's `previous` is 64 zeros.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import rfc8785
from sqlalchemy import insert, update
from sqlmodel import Session, col, select

from ledger.errors import IdempotencyConflictError, ReversalError, UnbalancedEntryError, UnknownEntryError
from ledger.instants import format_instant
from ledger.models import REGISTRY, Account, Entry, Head, Posting

GENESIS = "0" * 64
REVERSAL = "reversal"
_REGISTRY_KINDS = frozenset(row.entry_kind for row in REGISTRY)

Side = Literal["debit", "credit"]


@dataclass(frozen=True)
class Line:
    """One line of an entry to be: a positive amount on one side of an account."""

    account: str
    commodity: str
    side: Side
    amount: int


@dataclass(frozen=True)
class Posted:
    """What came of a request: the entry, and whether an earlier request had made it already."""

    entry: Entry
    repeated: bool


def debit(account: str, commodity: str, amount: int) -> Line:
    """A line on the debit side; a negative amount goes to the other side."""
    return Line(account, commodity, "debit" if amount >= 0 else "credit", abs(amount))


def credit(account: str, commodity: str, amount: int) -> Line:
    """A line on the credit side; a negative amount goes to the other side."""
    return debit(account, commodity, -amount) if amount else Line(account, commodity, "credit", 0)


def canonical(value: Mapping[str, Any]) -> str:
    """Canonical JSON of a payload."""
    return rfc8785.dumps(dict(value)).decode()


def content_hash(kind: str, subject: str, payload: str, lines: Iterable[Line], reverses: int | None) -> str:
    """SHA-256 of what a request asks for, hexadecimal."""
    postings = [
        {"account": line.account, "commodity": line.commodity, "side": line.side, "amount": str(line.amount)}
        for line in lines
    ]
    body: dict[str, Any] = {
        "kind": kind,
        "subject": subject,
        "payload": hashlib.sha256(payload.encode()).hexdigest(),
        "postings": postings,
        "reverses": reverses,
    }
    return hashlib.sha256(rfc8785.dumps(body)).hexdigest()


def entry_hash(sequence: int, recorded_at: str, key: str, content: str, previous: str) -> str:
    """SHA-256 that chains an entry to the one before, hexadecimal."""
    body: dict[str, Any] = {
        "sequence": sequence,
        "recorded_at": recorded_at,
        "key": key,
        "content": content,
        "previous": previous,
    }
    return hashlib.sha256(rfc8785.dumps(body)).hexdigest()


def imbalance(lines: Iterable[Line]) -> dict[str, tuple[int, int]]:
    """The commodities whose debits and credits differ, with both sums."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for line in lines:
        sums[line.commodity][line.side == "credit"] += line.amount
    return {commodity: (left, right) for commodity, (left, right) in sums.items() if left != right}


def post(
    session: Session,
    *,
    kind: str,
    subject: str,
    key: str,
    payload: Mapping[str, Any],
    lines: Sequence[Line] = (),
    reverses: int | None = None,
) -> Posted:
    """Append an entry. Lines of nothing are left out.

    The same key with the same content again returns the first entry. Raises `IdempotencyConflictError` for the same key
    with other content and `UnbalancedEntryError`.
    """
    lines = [line for line in lines if line.amount]
    for commodity, (left, right) in imbalance(lines).items():
        raise UnbalancedEntryError(kind, commodity, left, right)
    text = canonical(payload)
    content = content_hash(kind, subject, text, lines, reverses)
    # Locking the head first makes writers queue up, on servers too.
    head = session.exec(select(Head).with_for_update()).first()
    earlier = session.exec(select(Entry).where(Entry.key == key)).first()
    if earlier is not None:
        if earlier.content != content:
            raise IdempotencyConflictError(key, earlier.sequence)
        return Posted(earlier, repeated=True)
    sequence, previous = (head.count + 1, head.hash) if head else (1, GENESIS)
    recorded_at = format_instant(session.info["clock"]())
    made = Entry(
        sequence=sequence,
        kind=kind,
        subject=subject,
        recorded_at=recorded_at,
        key=key,
        payload=text,
        content=content,
        previous=previous,
        hash=entry_hash(sequence, recorded_at, key, content, previous),
        reverses=reverses,
    )
    session.add(made)
    session.flush()
    _open_accounts(session, lines)
    if lines:
        rows = [{"entry": sequence, "line": number, **line.__dict__} for number, line in enumerate(lines, start=1)]
        session.connection().execute(insert(Posting), rows)
    if head is None:
        session.add(Head(id=1, count=sequence, hash=made.hash))
        session.flush()
    else:
        session.exec(update(Head).values(count=sequence, hash=made.hash))
    return Posted(made, repeated=False)


def reverse(session: Session, sequence: int, reason: str) -> Posted:
    """Append the mirror image of an entry. Asking again for the same reason returns the first reversal.

    Raises `UnknownEntryError`, and `ReversalError` for an entry that was reversed before, is a reversal itself, or
    moved nothing.
    """
    original = entry(session, sequence)
    if original.kind == REVERSAL or original.kind in _REGISTRY_KINDS:
        raise ReversalError(sequence, f"it is a {original.kind} entry")
    mirrored = [
        replace(line, side="credit" if line.side == "debit" else "debit") for line in lines_of(session, sequence)
    ]
    earlier = reversal_of(session, sequence)
    payload = {"reverses": sequence, "reason": reason}
    if earlier is not None and earlier.payload != canonical(payload):
        raise ReversalError(sequence, f"entry {earlier.sequence} reversed it")
    return post(
        session,
        kind=REVERSAL,
        subject=original.subject,
        key=f"reversal:{sequence}",
        payload=payload,
        lines=mirrored,
        reverses=sequence,
    )


def reversal_of(session: Session, sequence: int) -> Entry | None:
    """The entry that reversed this one, if any."""
    return session.exec(select(Entry).where(Entry.reverses == sequence)).first()


def lines_of(session: Session, sequence: int) -> list[Line]:
    """An entry's lines in their order."""
    rows = session.exec(select(Posting).where(Posting.entry == sequence).order_by(col(Posting.line)))
    return [Line(row.account, row.commodity, row.side, row.amount) for row in rows]  # type: ignore[arg-type]


def entry(session: Session, sequence: int) -> Entry:
    """The entry with this number. Raises `UnknownEntryError`."""
    found = session.get(Entry, sequence)
    if found is None:
        raise UnknownEntryError(sequence)
    return found


def balances(session: Session, account: str, *, before: int | None = None) -> dict[str, int]:
    """Debits minus credits of an account, by commodity; with `before`, only of the entries ahead of that one."""
    query = select(Posting.commodity, Posting.side, Posting.amount).where(Posting.account == account)
    if before is not None:
        query = query.where(Posting.entry < before)
    sums: dict[str, int] = defaultdict(int)
    for commodity, side, amount in session.exec(query):
        sums[commodity] += amount if side == "debit" else -amount
    return dict(sums)


def balances_by_contributor(
    session: Session, kind: str, commodity: str, *, before: int | None = None
) -> dict[str, int]:
    """Debits minus credits of all accounts of a kind that contributors own, in one commodity."""
    query = (
        select(Account.contributor, Posting.side, Posting.amount)
        .join(Posting, col(Posting.account) == col(Account.name))
        .where(Account.kind == kind, Posting.commodity == commodity)
    )
    if before is not None:
        query = query.where(Posting.entry < before)
    sums: dict[str, int] = defaultdict(int)
    for contributor, side, amount in session.exec(query):
        sums[contributor or ""] += amount if side == "debit" else -amount
    return dict(sums)


def head(session: Session) -> tuple[int, str]:
    """How many entries there are, and the last one's hash: what an outside checkpoint should keep."""
    row = session.get(Head, 1)
    return (row.count, row.hash) if row else (0, GENESIS)


def _open_accounts(session: Session, lines: Iterable[Line]) -> None:
    names = sorted({line.account for line in lines})
    known: set[str] = set()
    for start in range(0, len(names), 500):
        known.update(session.exec(select(Account.name).where(col(Account.name).in_(names[start : start + 500]))))
    rows = []
    for name in names:
        if name not in known:
            kind, _, contributor = name.partition(":")
            rows.append({"name": name, "kind": kind, "contributor": contributor or None})
    if rows:
        session.connection().execute(insert(Account), rows)
