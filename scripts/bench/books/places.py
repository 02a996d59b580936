"""Where the bench's ledgers lie: a file or a database of its own each, on the databases that were asked for."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psycopg
from sqlalchemy.engine import make_url

from ledger.database import Ledger
from scripts.bench.books.server import running


@dataclass
class Places:
    """Fresh places for ledgers, by database."""

    folder: Path
    databases: Sequence[str]
    server: str | None
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def fresh(self, database: str, template: str = "template0") -> str:
        """A place where no ledger is yet."""
        name = f"books_{next(self._numbers)}"
        if database == "sqlite":
            return str(self.folder / f"{name}.db")
        assert self.server is not None
        self._run(f"DROP DATABASE IF EXISTS {name}")
        self._run(f"CREATE DATABASE {name} TEMPLATE {template}")
        return make_url(self.server).set(database=name).render_as_string(hide_password=False)

    def remove(self, place: str) -> None:
        """Free the disk."""
        if "://" in place:
            self._run(f"DROP DATABASE {make_url(place).database} WITH (FORCE)")
        else:
            for suffix in ("", "-wal", "-shm"):
                Path(place + suffix).unlink(missing_ok=True)

    @contextmanager
    def books(self, database: str) -> Iterator[Ledger]:
        """A new ledger, which is gone afterwards."""
        place = self.fresh(database)
        try:
            with Ledger.create(place) as made:
                yield made
        finally:
            self.remove(place)

    @contextmanager
    def copy(self, books: Ledger) -> Iterator[Ledger]:
        """A copy of a ledger that nobody is writing, which is gone afterwards."""
        books.close()
        if books.engine.dialect.name == "sqlite":
            place = self.fresh("sqlite")
            with sqlite3.connect(books.place) as source, sqlite3.connect(place) as target:
                source.backup(target)
        else:
            place = self.fresh("postgresql", template=str(books.engine.url.database))
        try:
            with Ledger.open(place) as copied:
                yield copied
        finally:
            self.remove(place)

    def _run(self, statement: str) -> None:
        url = make_url(self.server or "").set(drivername="postgresql")
        with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as connection:
            connection.execute(statement)


@contextmanager
def places(folder: Path, databases: Sequence[str], server: str | None) -> Iterator[Places]:
    """Places in a folder and on a server, which is started where it is needed and not given."""
    own = running() if "postgresql" in databases and server is None else nullcontext(server)
    with own as url:
        yield Places(folder, databases, url)
