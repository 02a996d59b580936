"""What an entry is asked to say, made ready to be hashed and stored, in memory that does not grow with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, groupby, islice
from typing import Any

from ledger import pending
from ledger.canonical import Request, canonical, content_hash, part_leaf, posting_leaf, root_of
from ledger.errors import AmountError, EntryTextError, UnbalancedEntryError
from ledger.instants import parse_instant
from ledger.lines import Gathered, Line, debit, imbalance, merged
from ledger.money import LARGEST_AMOUNT
from ledger.spool import Spool, ordered

LONGEST_TEXT = 2000  # bytes of UTF-8 that a server's index takes
IN_MEMORY = 5000  # lines that are merged without a file


@dataclass(frozen=True)
class Ready:
    """A request that can be stored, if accounts and the calendar permit it."""

    request: Request
    parts: Spool[tuple[str, str]]  # contributors, and canonical JSON
    lines: Spool[Line]  # merged

    @property
    def content(self) -> str:
        """The hash of all of it, by which the same request is known."""
        parts = root_of(part_leaf(*part) for part in self.parts)
        return content_hash(self.request, parts, root_of(map(posting_leaf, self.lines)))


def ready(
    *,
    kind: str,
    subject: str,
    key: str,
    payload: Mapping[str, Any],
    parts: Iterable[tuple[str, Mapping[str, Any]]],
    lines: Iterable[Line],
    event_at: Any,
    reason: str | None,
    reference: str | None,
    reverses: int | None,
) -> Ready:
    """Check what can be checked without the books: texts, amounts, balance, and holds against lines.

    Raises `EntryTextError`, `InstantError`, `AmountError`, `UnbalancedEntryError` and `HeldAccountError`.
    """
    _check_texts(kind=kind, subject=subject, key=key, reason=reason, reference=reference)
    stated_at = None if event_at is None else parse_instant(event_at)
    said = dict(payload)
    request = Request(kind, subject, canonical(said), stated_at, reason, reference, reverses)
    moves = Spool(pending.stated_moves(said))
    texts: Spool[tuple[str, str]] = Spool()
    for contributor, part in parts:
        one = dict(part)
        moves.extend(pending.stated_moves(one))
        texts.append((contributor, canonical(one)))
    made = _merged(lines)
    _check_lines(kind, made)
    pending.assert_stated(made, moves)
    return Ready(request, texts, made)


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


def _check_lines(kind: str, lines: Iterable[Line]) -> None:
    for line in lines:
        if type(line.amount) is not int or line.amount > LARGEST_AMOUNT:
            raise AmountError(str(line.amount), f"{line.account} cannot be moved by more than 2**256 - 1 at once")
    for commodity, (left, right) in imbalance(lines).items():
        raise UnbalancedEntryError(kind, commodity, left, right)


def _merged(lines: Iterable[Line]) -> Spool[Line]:
    """As `merged`, for any number of lines."""
    if isinstance(lines, Gathered):
        return Spool(lines)
    rest = iter(lines)
    first = list(islice(rest, IN_MEMORY + 1))
    if len(first) <= IN_MEMORY:
        return Spool(merged(first))
    numbered = enumerate(chain(first, rest))
    by_account = ordered((line.account, line.commodity, place, line.signed) for place, line in numbered)
    return Spool(debit(*key, amount) for _, key, amount in ordered(_sums(by_account)) if amount)


def _sums(rows: Iterable[tuple[str, str, int, int]]) -> Iterator[tuple[int, tuple[str, str], int]]:
    """Where each account was first mentioned, the account, and its sum."""
    for key, group in groupby(rows, key=lambda row: (row[0], row[1])):
        _, _, place, first = next(group)
        yield place, key, first + sum(amount for *_, amount in group)
