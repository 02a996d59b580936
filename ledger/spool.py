"""Items too many for memory: kept in a temporary file beyond the first ones, read as often as needed, and sorted."""

from __future__ import annotations

import heapq
import pickle
from collections.abc import ItemsView, Iterable, Iterator, Mapping, Sequence, ValuesView
from itertools import chain, islice
from tempfile import TemporaryFile
from typing import IO, Any, TypeVar, overload

from ledger.batches import batches

BLOCK = 5000  # items that are written and read together
RUN = 20_000  # items that are sorted in memory
_MERGED = 100  # items of each run that are in memory while they are merged

T = TypeVar("T")
V = TypeVar("V")


class Spool(Sequence[T]):
    """A sequence that is added to, counted and read in order, any number of times. Its file goes with it.

    Memory holds one block of it, and one more for whoever reads. Items must be plain values or dataclasses of these.
    Picking one by its number is slow.
    """

    def __init__(self, items: Iterable[T] = (), *, block: int | None = None) -> None:
        self._block = block or BLOCK
        self._last: list[T] = []
        self._file: IO[bytes] | None = None
        self._places: list[int] = []  # where the blocks before the last begin in the file
        if items:
            self.extend(items)

    def append(self, item: T) -> None:
        """Add an item."""
        if len(self._last) == self._block:
            self._write()
        self._last.append(item)

    def extend(self, items: Iterable[T]) -> None:
        """Add items, one after the other."""
        rest = iter(items)
        self._last.extend(islice(rest, self._block - len(self._last)))
        for item in rest:  # the block is full
            self._write()
            self._last.append(item)
            self._last.extend(islice(rest, self._block - 1))

    def __len__(self) -> int:
        return len(self._places) * self._block + len(self._last)

    def __iter__(self) -> Iterator[T]:
        return chain.from_iterable(self._blocks())

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> list[T]: ...
    def __getitem__(self, place: int | slice) -> T | list[T]:
        if isinstance(place, slice):
            return list(self)[place]
        place = range(len(self))[place]
        return next(islice(self, place, None))

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


class Table(Mapping[str, V]):
    """A mapping that is read in the order of its rows, any number of times; looking up one key is slow."""

    def __init__(self, rows: Iterable[tuple[str, V]] = ()) -> None:
        self.rows = Spool(rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[str]:
        return (key for key, _ in self.rows)

    def __getitem__(self, key: str) -> V:
        for found, value in self.rows:
            if found == key:
                return value
        raise KeyError(key)

    def items(self) -> ItemsView[str, V]:
        """The rows, as a stream."""
        return _Items(self)

    def values(self) -> ValuesView[V]:
        """What the rows hold, as a stream."""
        return _Values(self)


class _Items(ItemsView[str, Any]):
    _mapping: Table[Any]

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(self._mapping.rows)


class _Values(ValuesView[Any]):
    _mapping: Table[Any]

    def __iter__(self) -> Iterator[Any]:
        return (value for _, value in self._mapping.rows)


def ordered(items: Iterable[T], *, run: int | None = None) -> Iterator[T]:
    """The items from the smallest on, in memory that does not grow with them beyond `run`."""
    runs = [Spool(sorted(batch), block=_MERGED) for batch in batches(items, run or RUN)]  # type: ignore[type-var]
    return heapq.merge(*runs)  # type: ignore[type-var]
