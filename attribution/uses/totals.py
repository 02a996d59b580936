"""Scores summed by sample, and what is made of them, in a table on disk: memory does not grow with the samples."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any

import pyarrow as pa

from attribution.uses.standing import Standings

Row = tuple[Any, ...]

_CACHE_KIBIBYTES = 8 * 1024
_CHUNK = 1 << 10


class Totals:
    """A scratch table of samples and one of units: what is kept or dropped, a record or a sample.

    `tasks` is how many scores each has. Units keep the order in which they were added. They are ranked by their score
    for each token that was scored, or by their standing.
    """

    def __init__(self, connection: sqlite3.Connection, tasks: int, by_standing: bool) -> None:
        self._db, self._tasks = connection, tasks
        sums = "".join(f", t{i} REAL" for i in range(tasks))
        self._db.execute(f"CREATE TABLE raw (who INTEGER, sample, times INTEGER, stood REAL{sums})")
        self._db.execute(
            "CREATE TABLE unit (id INTEGER PRIMARY KEY, who INTEGER, dataset INTEGER, sample, size INTEGER, "
            f"scored INTEGER, score REAL, density REAL, standing REAL{sums})"
        )
        self._db.execute("CREATE TABLE chosen (id INTEGER PRIMARY KEY)")
        self._rank = "standing" if by_standing else "density"
        self._dropped: tuple[str, Row] = ("0", ())  # a condition on units, and its parameters

    @classmethod
    @contextmanager
    def on_disk(cls, folder: Path, tasks: int, *, by_standing: bool = False) -> Iterator[Totals]:
        """The tables in a file in `folder`, which is the caller's to delete."""
        connection = sqlite3.connect(folder / "totals.db", isolation_level=None)
        try:
            for pragma in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{_CACHE_KIBIBYTES}", "temp_store=FILE"):
                connection.execute(f"PRAGMA {pragma}")
            connection.execute("BEGIN")
            yield cls(connection, tasks, by_standing)
        finally:
            connection.close()

    def add(self, rows: Iterable[Row]) -> None:
        """Add scores of samples: who, sample, times, standing and the scores."""
        self._db.executemany(f"INSERT INTO raw VALUES (?, ?, ?, ?{', ?' * self._tasks})", rows)

    def samples(self) -> Iterator[Row]:
        """Who, sample, times, standing and scores of each sample, summed over the run, sorted by who and sample."""
        sums = "".join(f", sum(t{i})" for i in range(self._tasks))
        columns = f"who, sample, sum(times), sum(stood){sums}"
        return self._rows(f"SELECT {columns} FROM raw GROUP BY who, sample ORDER BY who, sample")

    def add_units(self, rows: Iterable[Row]) -> None:
        """Add units: who, dataset, sample, size, scored, score, standing, and each task's score; None for none."""
        names = "".join(f", t{i}" for i in range(self._tasks))
        values = "".join(f", ?{8 + i}" for i in range(self._tasks))
        self._db.executemany(
            f"INSERT INTO unit (who, dataset, sample, size, scored, score, density, standing{names}) "
            f"VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6 / nullif(?5, 0), ?7{values})",
            rows,
        )

    def drop_below(self, least: float) -> None:
        """Drop every unit with a score below this."""
        self._dropped = ("score < ?", (least,))

    def drop_where(self, drops: Callable[[int, int | None, int | str], bool]) -> None:
        """Drop the units of which this is true, told who, dataset and sample."""
        self._db.create_function("drops", 3, drops, deterministic=True)
        self._dropped = ("drops(who, dataset, sample)", ())

    def standings(self) -> Iterator[tuple[int, float | None]]:
        """Who supplied each unit and its standing, None where it has none, in the order in which they were added."""
        return self._rows("SELECT who, CASE WHEN score IS NULL THEN NULL ELSE standing END FROM unit ORDER BY id")

    def restand(self, standings: Iterable[float | None]) -> None:
        """Give the units other standings, in the order in which they were added."""
        self._db.executemany(
            "UPDATE unit SET standing = ? WHERE id = ?", ((found, number) for number, found in enumerate(standings, 1))
        )

    def drop_standing_below(self, least: float, spared: Sequence[int] = ()) -> None:
        """Drop every unit with a standing below this, but for those of the contributors who are `spared`."""
        places = ", ".join("?" * len(spared))
        self._dropped = (f"score IS NOT NULL AND standing < ? AND who NOT IN ({places})", (least, *spared))

    def drop_share(self, share: float) -> None:
        """Drop the units that rank lowest, as long as they are at most this share of the size of all."""
        (whole,) = self._db.execute("SELECT coalesce(sum(size), 0) FROM unit").fetchone()
        room, last = share * whole, None
        for rank, number, size in self._rows(
            f"SELECT {self._rank}, id, size FROM unit WHERE score IS NOT NULL ORDER BY {self._rank}, id"
        ):
            if size > room:
                break
            room, last = room - size, (rank, number)
        if last is not None:
            self._dropped = (f"({self._rank}, id) <= (?, ?)", last)

    def choose(self, numbers: Iterable[int]) -> None:
        """Choose units by their numbers, from 1 in the order in which they were added."""
        self._db.executemany("INSERT INTO chosen VALUES (?)", ((number,) for number in numbers))

    def drop_unchosen(self) -> None:
        """Drop every unit that was not chosen."""
        self._dropped = ("id NOT IN chosen", ())

    def numbered(self) -> Iterator[Row]:
        """Number, who, dataset, sample and size of each unit."""
        return self._rows("SELECT id, who, dataset, sample, size FROM unit ORDER BY id")

    def offers(self, price: Callable[[int, int], int]) -> Iterator[tuple[int, int, float]]:
        """Number, cost and score of each scored unit that is not chosen, the most score for its cost first.

        `price` tells a unit's whole cost from who supplied it and its size.
        """
        self._db.create_function("worth", 3, lambda who, size, score: _worth(score, price(who, size)))
        rows = self._rows(
            "SELECT id, who, size, score FROM unit WHERE score IS NOT NULL AND id NOT IN chosen "
            "ORDER BY worth(who, size, score) DESC, id"
        )
        return ((number, price(who, size), score) for number, who, size, score in rows)

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
        """The `count` units that rank lowest, or highest: as `units`, then the score by size, and the standing."""
        order = f"{self._rank}, id" if worst else f"{self._rank} DESC, id"
        return self._db.execute(
            f"SELECT who, dataset, sample, size, scored, score, {self._keep}, density, standing FROM unit "
            f"WHERE score IS NOT NULL ORDER BY {order} LIMIT ?",
            (*self._dropped[1], count),
        ).fetchall()

    def _rows(self, query: str, parameters: Row = ()) -> Iterator[Row]:
        cursor = self._db.execute(query, parameters)
        while rows := cursor.fetchmany(_CHUNK):
            yield from rows


def _worth(score: float, cost: int) -> float:
    return score / cost if cost else math.copysign(math.inf, score) if score else 0.0


def batch_rows(batch: pa.RecordBatch, who: dict[str, int], standings: Standings | None = None) -> Iterator[Row]:
    """The rows of a batch of scores as `Totals.add` takes them; without `standings` all stand at 0."""
    names = [who[name] for name in batch.column(2).dictionary.to_pylist()]
    indices = batch.column(2).indices.to_pylist()
    tasks = [column.to_pylist() for column in batch.columns[3:]]
    stood = repeat(0.0, len(batch)) if standings is None else standings(batch).tolist()
    samples = batch.column(1).to_pylist()
    return zip((names[i] for i in indices), samples, repeat(1, len(batch)), stood, *tasks, strict=True)
