"""How large everything is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Sizes:
    """Sizes of every part of the bench."""

    repeats: int
    accounts: int  # of contributors, who are posted to in turn
    single: int  # entries of one repeat, a transaction each
    entries: int  # of two postings each, in one transaction
    lines: tuple[int, ...]  # postings of one entry
    contributors: tuple[int, ...]  # of one settlement
    postings: tuple[int, ...]  # of an audited journal
    entry_lines: int  # of each entry of an audited journal

    def changed(self, **sizes: Any) -> Sizes:
        """The same, but for what is given."""
        given = {name: tuple(size) if isinstance(size, list) else size for name, size in sizes.items() if size}
        return replace(self, **given)


QUICK = Sizes(
    repeats=2, accounts=20, single=3, entries=5, lines=(20,), contributors=(10, 20), postings=(100,), entry_lines=10
)
FULL = Sizes(
    repeats=9,
    accounts=10_000,
    single=50,
    entries=1_000,
    lines=(1_000, 10_000),
    contributors=(1_000, 10_000, 100_000),
    postings=(10_000, 100_000, 1_000_000),
    entry_lines=100,
)
