"""Postings a second: the journal beside raw SQL, in turn, single and batched."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, cycle, islice

from ledger import journal, registry
from ledger.database import Ledger
from ledger.lines import Line, credit, debit
from ledger.money import Asset
from ledger.requests import Asked
from scripts.bench.books.places import Places
from scripts.bench.books.sizes import Sizes
from scripts.bench.books.tables import count as shown
from scripts.bench.books.tables import spread, table
from scripts.bench.books.twin import Twin

ASSET = Asset.named("EUR")
Requests = list[list[Line]]  # the lines of each entry


@dataclass(frozen=True)
class Work:
    """Entries to post, and how."""

    name: str
    entries: int
    lines: int  # of each entry
    one_by_one: bool  # a transaction an entry

    @property
    def postings(self) -> int:
        return self.entries * self.lines


def report(places: Places, sizes: Sizes) -> str:
    """A table of rates and ratios."""
    works = [
        Work("one entry of 2 postings a transaction", sizes.single, 2, one_by_one=True),
        Work(f"{shown(sizes.entries)} entries of 2 postings in a transaction", sizes.entries, 2, one_by_one=False),
        *(Work(f"one entry of {shown(lines)} postings", 1, lines, one_by_one=True) for lines in sizes.lines),
    ]
    rows = []
    for database in places.databases:
        with places.books(database) as prepared:
            prepare(prepared, sizes.accounts)
            for work in works:
                ours, raw = measure(places, prepared, work, sizes)
                ratios = [theirs / mine for mine, theirs in zip(ours, raw, strict=True)]
                rates = [[work.postings / seconds for seconds in found] for found in (ours, raw)]
                rows.append([database, work.name, spread(rates[0], 0), spread(rates[1], 0), spread(ratios)])
    return table(["database", "work", "postings/s", "raw SQL, postings/s", "ours to raw"], rows)


def measure(places: Places, prepared: Ledger, work: Work, sizes: Sizes) -> tuple[list[float], list[float]]:
    """Seconds of each repeat, ours and raw. The first of each does not count: it fills caches, compiles statements."""
    ours, raw = [], []
    with places.copy(prepared) as books, places.copy(prepared) as copied:
        twin = Twin(books, copied)
        requests = drawn(sizes.accounts, work)
        keys = (f"posting {number}" for number in count())
        for _ in range(sizes.repeats + 1):
            batch = [next(requests) for _ in range(work.entries)]
            began = time.perf_counter()
            write(books, batch, keys, one_by_one=work.one_by_one)
            ours.append(time.perf_counter() - began)
            raw.append(twin.follow(one_by_one=work.one_by_one))
        twin.check()
    return ours[1:], raw[1:]


def write(books: Ledger, requests: Requests, keys: Iterator[str], *, one_by_one: bool) -> None:
    """Post entries, in a transaction each or all in one."""
    asked = [Asked(kind="bench", subject="bench", key=next(keys), payload={}, lines=lines) for lines in requests]
    for group in [[one] for one in asked] if one_by_one else [asked]:
        with books.writing() as session:
            journal.post_all(session, group)


def prepare(books: Ledger, contributors: int) -> None:
    """Contributors, and an account each that something has been posted to."""
    with books.writing() as session:
        registry.use_asset(session, ASSET)
        for number in range(contributors):
            registry.add_contributor(session, name(number))
    with books.writing() as session:
        paid = [payable(number) for number in range(contributors)]
        lines = [debit("buyer", ASSET.code, sum(line.amount for line in paid)), *paid]
        journal.post(session, kind="bench", subject="bench", key="accounts", payload={}, lines=lines)


def drawn(contributors: int, work: Work) -> Iterator[list[Line]]:
    """The lines of one entry after the other: one pool pays, contributors are paid in turn."""
    numbers = cycle(range(contributors))
    while True:
        paid = [payable(number) for number in islice(numbers, work.lines - 1)]
        yield [debit("buyer", ASSET.code, sum(line.amount for line in paid)), *paid]


def payable(number: int) -> Line:
    """A line that credits a contributor."""
    return credit(f"payable:{name(number)}", ASSET.code, 1 + number % 1_000_000)


def name(number: int) -> str:
    """A contributor's id."""
    return f"contributor-{number:06d}"
