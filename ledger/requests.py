"""What an entry is asked to say, made ready to be hashed and stored, in memory that does not grow with it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import chain, groupby, islice
from typing import Any

from ledger import pending
from ledger.batches import batches
from ledger.canonical import Request, canonical, content_hash, part_leaf, posting_leaf, root_of
from ledger.errors import AmountError, EntryTextError, UnbalancedEntryError
from ledger.instants import parse_instant
from ledger.lines import Gathered, Line, Side, debit, merged
from ledger.money import LARGEST_AMOUNT
from ledger.spool import Spool, ordered

LONGEST_TEXT = 2000  # bytes of UTF-8 that a server's index takes
IN_MEMORY = 5000  # lines that are merged without a file


@dataclass(frozen=True, kw_only=True)
class Asked:
    """An entry as it is asked for; `journal.post` says what is what."""

    kind: str
    subject: str
    key: str
    payload: Mapping[str, Any]
    parts: Iterable[tuple[str, Mapping[str, Any]]] = ()
    lines: Iterable[Line] = ()
    event_at: date | datetime | str | None = None
    reason: str | None = None
    reference: str | None = None
    reverses: int | None = None


@dataclass(frozen=True)
class Ready:
    """A request that can be stored, if accounts and the calendar permit it."""

    key: str
    request: Request
    parts: Sequence[tuple[str, str]]  # contributors, and canonical JSON
    lines: Sequence[Line]  # merged
    content: str  # the hash of all of it, by which the same request is known


def ready(asked: Asked) -> Ready:
    """Check what can be checked without the books: texts, amounts, balance, and holds against lines.

    Raises `EntryTextError`, `InstantError`, `AmountError`, `UnbalancedEntryError` and `HeldAccountError`.
    """
    texts = {"reason": asked.reason, "reference": asked.reference}
    _check_texts(kind=asked.kind, subject=asked.subject, key=asked.key, **texts)
    stated_at = None if asked.event_at is None else parse_instant(asked.event_at)
    said = dict(asked.payload)
    request = Request(asked.kind, asked.subject, canonical(said), stated_at, reverses=asked.reverses, **texts)
    moves = Spool(pending.stated_moves(said))
    parts: Spool[tuple[str, str]] = Spool()
    lines: Spool[Line] = Spool()
    # Each is read once, and hashed while it is kept.
    roots = root_of(_said(asked.parts, parts, moves)), root_of(_moved(asked, lines, moves))
    if moves:
        pending.assert_stated(moves)
    return Ready(asked.key, request, parts, lines, content_hash(request, *roots))


def _said(
    asked: Iterable[tuple[str, Mapping[str, Any]]], parts: Spool[tuple[str, str]], moves: Spool[pending.Move]
) -> Iterator[bytes]:
    """The leaves of the parts, which are kept."""
    for contributor, said in asked:
        part = dict(said)
        moves.extend(pending.stated_moves(part))
        text = canonical(part)
        parts.append((contributor, text))
        yield part_leaf(contributor, text)


def _moved(asked: Asked, lines: Spool[Line], moves: Spool[pending.Move]) -> Iterator[bytes]:
    """The leaves of the lines, which are kept. Raises, at the end, what `_check_lines` does."""
    sums: dict[tuple[str, Side], int] = defaultdict(int)
    wrong: Line | None = None
    for batch in batches(merged_lines(asked.lines), IN_MEMORY):
        lines.extend(batch)
        for line in batch:
            amount = line.amount
            if type(amount) is not int or amount > LARGEST_AMOUNT:
                wrong = line
            sums[line.commodity, line.side] += amount
            if line.account.partition(":")[0] in pending.KINDS_OF_HOLDS:
                moves.append(pending.moved(line))
            yield posting_leaf(line)
    _check_lines(asked.kind, sums, wrong)


def _check_lines(kind: str, sums: Mapping[tuple[str, Side], int], wrong: Line | None) -> None:
    if wrong is not None:
        raise AmountError(str(wrong.amount), f"{wrong.account} cannot be moved by more than 2**256 - 1 at once")
    for commodity in dict.fromkeys(commodity for commodity, _ in sums):
        left, right = sums.get((commodity, "debit"), 0), sums.get((commodity, "credit"), 0)
        if left != right:
            raise UnbalancedEntryError(kind, commodity, left, right)


def _check_texts(**texts: str | None) -> None:
    for name, text in texts.items():
        if text is None:
            continue
        if not text.strip():
            raise EntryTextError(name, text, "must say something")
        if not text.isprintable() and ("\x00" in text or any("\ud800" <= mark <= "\udfff" for mark in text)):
            raise EntryTextError(name, text, "holds characters that are not Unicode text")
        if name != "reason" and len(text.encode()) > LONGEST_TEXT:
            raise EntryTextError(name, f"{text[:40]}…", f"is longer than {LONGEST_TEXT} bytes")


def merged_lines(lines: Iterable[Line]) -> Iterable[Line]:
    """As `merged`, for any number of lines."""
    if isinstance(lines, Gathered):
        return lines
    rest = iter(lines)
    first = list(islice(rest, IN_MEMORY + 1))
    if len(first) <= IN_MEMORY:
        return merged(first)
    numbered = enumerate(chain(first, rest))
    by_account = ordered((line.account, line.commodity, place, line.signed) for place, line in numbered)
    return (debit(*key, amount) for _, key, amount in ordered(_sums(by_account)) if amount)


def _sums(rows: Iterable[tuple[str, str, int, int]]) -> Iterator[tuple[int, tuple[str, str], int]]:
    """Where each account was first mentioned, the account, and its sum."""
    for key, group in groupby(rows, key=lambda row: (row[0], row[1])):
        first, total = -1, 0
        for *_, place, amount in group:
            first, total = place if first < 0 else first, total + amount
        yield first, key, total
