"""Scores summed by sample, and what is made of them, in a table on disk: memory does not grow with the samples."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

Row = tuple[Any, ...]

_CACHE_KIBIBYTES = 8 * 1024
_CHUNK = 1 << 10


class Totals:
    """A scratch table of samples and one of units: what is kept or dropped, a record or a sample.

    `tasks` is how many scores each has. Units keep the order in which they were added.
    """

    def __init__(self, connection: sqlite3.Connection, tasks: int) -> None:
        self._db, self._tasks = connection, tasks
        sums = "".join(f", t{i} REAL" for i in range(tasks))
        self._db.execute(f"CREATE TABLE raw (who INTEGER, sample, times INTEGER{sums})")
        self._db.execute(
            "CREATE TABLE unit (id INTEGER PRIMARY KEY, who INTEGER, dataset INTEGER, sample, size INTEGER, "
            f"scored INTEGER, score REAL, density REAL{sums})"
        )
        self._dropped: tuple[str, Row] = ("0", ())  # a condition on units, and its parameters

    @classmethod
    @contextmanager
    def on_disk(cls, folder: Path, tasks: int) -> Iterator[Totals]:
        """The tables in a file in `folder`, which is the caller's to delete."""
        connection = sqlite3.connect(folder / "totals.db", isolation_level=None)
        try:
            for pragma in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{_CACHE_KIBIBYTES}", "temp_store=FILE"):
                connection.execute(f"PRAGMA {pragma}")
            connection.execute("BEGIN")
            yield cls(connection, tasks)
        finally:
            connection.close()

    def add(self, rows: Iterable[Row]) -> None:
        """Add scores of samples: who, sample, times and the scores."""
        self._db.executemany(f"INSERT INTO raw VALUES (?, ?, ?{', ?' * self._tasks})", rows)

    def samples(self) -> Iterator[Row]:
        """Who, sample, times and scores of each sample, summed over the run, sorted by who and sample."""
        sums = "".join(f", sum(t{i})" for i in range(self._tasks))
        return self._rows(f"SELECT who, sample, sum(times){sums} FROM raw GROUP BY who, sample ORDER BY who, sample")

    def add_units(self, rows: Iterable[Row]) -> None:
        """Add units: who, dataset, sample, size, scored, score, and each task's score; None where there is none."""
        names = "".join(f", t{i}" for i in range(self._tasks))
        values = "".join(f", ?{7 + i}" for i in range(self._tasks))
        self._db.executemany(
            f"INSERT INTO unit (who, dataset, sample, size, scored, score, density{names}) "
            f"VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6 / nullif(?5, 0){values})",
            rows,
        )

    def drop_below(self, least: float) -> None:
        """Drop every unit with a score below this."""
        self._dropped = ("score < ?", (least,))

    def drop_share(self, share: float) -> None:
        """Drop the units that score least by size, as long as they are at most this share of the size of all."""
        (whole,) = self._db.execute("SELECT coalesce(sum(size), 0) FROM unit").fetchone()
        room, last = share * whole, None
        for density, number, size in self._rows(
            "SELECT density, id, size FROM unit WHERE density IS NOT NULL ORDER BY density, id"
        ):
            if size > room:
                break
            room, last = room - size, (density, number)
        if last is not None:
            self._dropped = ("(density, id) <= (?, ?)", last)

    @property
    def _keep(self) -> str:
        # Asked anew each time: an update would hold the numbers of all that it changes in memory.
        return f"coalesce(NOT ({self._dropped[0]}), 1)"

    def by_contributor(self) -> Iterator[Row]:
        """Of each contributor who has units: who, then by kept (0, 1) how many units and what they sum to.

        Rows of who, keep, units, unscored units, size, score, positive part, negative part, and each task's score.
        """
        sums = "".join(f", total(t{i})" for i in range(self._tasks))
        return self._rows(
            f"SELECT who, {self._keep}, count(*), count(*) - count(score), sum(size), total(score), "
            f"total(max(score, 0)), total(min(score, 0)){sums} FROM unit GROUP BY 1, 2 ORDER BY 1, 2",
            self._dropped[1],
        )

    def units(self) -> Iterator[Row]:
        """Who, dataset, sample, size, scored, score and keep of each unit, in the order in which they were added."""
        columns = f"who, dataset, sample, size, scored, score, {self._keep}"
        return self._rows(f"SELECT {columns} FROM unit ORDER BY id", self._dropped[1])

    def extremes(self, count: int, *, worst: bool) -> Sequence[Row]:
        """The `count` units that score least, or most, by size: as `units`, and the score by size."""
        order = "density, id" if worst else "density DESC, id"
        return self._db.execute(
            f"SELECT who, dataset, sample, size, scored, score, {self._keep}, density FROM unit "
            f"WHERE density IS NOT NULL ORDER BY {order} LIMIT ?",
            (*self._dropped[1], count),
        ).fetchall()

    def _rows(self, query: str, parameters: Row = ()) -> Iterator[Row]:
        cursor = self._db.execute(query, parameters)
        while rows := cursor.fetchmany(_CHUNK):
            yield from rows


def batch_rows(batch: pa.RecordBatch, who: dict[str, int]) -> Iterator[Row]:
    """The rows of a batch of scores as `Totals.add` takes them."""
    names = [who[name] for name in batch.column(2).dictionary.to_pylist()]
    indices = batch.column(2).indices.to_pylist()
    tasks = [column.to_pylist() for column in batch.columns[3:]]
    return zip((names[i] for i in indices), batch.column(1).to_pylist(), [1] * len(batch), *tasks, strict=True)
