"""Lines of an entry to be: positive amounts on a side of an account, which balance in each commodity. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

Side = Literal["debit", "credit"]


@dataclass(frozen=True)
class Line:
    """One line of an entry to be: a positive amount on one side of an account."""

    account: str
    commodity: str
    side: Side
    amount: int

    @property
    def signed(self) -> int:
        """The amount as a debit: negative on the credit side."""
        return self.amount if self.side == "debit" else -self.amount


class Gathered(Iterable[Line]):
    """Lines that mention each account once and are made anew whenever they are read: memory need not hold them."""

    def __init__(self, make: Callable[[], Iterator[Line]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[Line]:
        return self._make()


def debit(account: str, commodity: str, amount: int) -> Line:
    """A line on the debit side; a negative amount goes to the other side."""
    return Line(account, commodity, "debit" if amount >= 0 else "credit", abs(amount))


def credit(account: str, commodity: str, amount: int) -> Line:
    """A line on the credit side; a negative amount goes to the other side."""
    return Line(account, commodity, "credit" if amount >= 0 else "debit", abs(amount))


def merged(lines: Iterable[Line]) -> list[Line]:
    """At most one line an account and commodity, in the order of first mention; what comes to nothing is left out."""
    rows = list(lines)
    if len({(line.account, line.commodity) for line in rows}) == len(rows) and all(line.amount > 0 for line in rows):
        return rows
    sums: dict[tuple[str, str], int] = defaultdict(int)
    for line in rows:
        sums[line.account, line.commodity] += line.signed
    return [debit(account, commodity, amount) for (account, commodity), amount in sums.items() if amount]


def mirrored(lines: Iterable[Line]) -> list[Line]:
    """The same lines, each on the other side."""
    return [debit(line.account, line.commodity, -line.signed) for line in lines]


def imbalance(lines: Iterable[Line]) -> dict[str, tuple[int, int]]:
    """The commodities whose debits and credits differ, with both sums."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for line in lines:
        sums[line.commodity][line.side == "credit"] += line.amount
    return {commodity: (left, right) for commodity, (left, right) in sums.items() if left != right}
