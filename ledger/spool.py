"""Items too many for memory: kept in a temporary file beyond the first ones, read as often as needed, and sorted."""

from __future__ import annotations

import heapq
import pickle
from collections.abc import Iterable, Iterator
from itertools import chain
from tempfile import TemporaryFile
from typing import IO, Generic, TypeVar

from ledger.batches import batches

BLOCK = 1000  # items that are written and read together
RUN = 20_000  # items that are sorted in memory
_MERGED = 100  # items of each run that are in memory while they are merged

T = TypeVar("T")


class Spool(Generic[T]):
    """A sequence that is added to, counted and read in order, any number of times. Its file goes with it.

    Memory holds one block of it, and one more for whoever reads. Items must be plain values or dataclasses of these.
    """

    def __init__(self, items: Iterable[T] = (), *, block: int = BLOCK) -> None:
        self._block = block
        self._last: list[T] = []
        self._file: IO[bytes] | None = None
        self._places: list[int] = []  # where the blocks before the last begin in the file
        self.extend(items)

    def append(self, item: T) -> None:
        """Add an item."""
        if len(self._last) == self._block:
            self._write()
        self._last.append(item)

    def extend(self, items: Iterable[T]) -> None:
        """Add items, one after the other."""
        for item in items:
            self.append(item)

    def __len__(self) -> int:
        return len(self._places) * self._block + len(self._last)

    def __iter__(self) -> Iterator[T]:
        return chain.from_iterable(self._blocks())

    def __eq__(self, other: object) -> bool:
        """Whether both hold equal items in the same order; a list is compared alike."""
        if not isinstance(other, Spool | list | tuple):
            return NotImplemented
        return len(self) == len(other) and all(one == another for one, another in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # it changes

    def _blocks(self) -> Iterator[list[T]]:
        for place in self._places:
            assert self._file is not None
            self._file.seek(place)  # each time: others may be reading too
            yield pickle.load(self._file)
        yield self._last

    def _write(self) -> None:
        if self._file is None:
            self._file = TemporaryFile(prefix="ghostledger-")  # noqa: SIM115  # closed with the last reference to it
        self._places.append(self._file.seek(0, 2))
        pickle.dump(self._last, self._file, protocol=pickle.HIGHEST_PROTOCOL)
        self._last = []


def ordered(items: Iterable[T], *, run: int = RUN) -> Iterator[T]:
    """The items from the smallest on, in memory that does not grow with them beyond `run`."""
    runs = [Spool(sorted(batch), block=_MERGED) for batch in batches(items, run)]  # type: ignore[type-var]
    return heapq.merge(*runs)  # type: ignore[type-var]
