from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session

from ledger import registry
from ledger.database import Clock, Ledger
from ledger.valuation import Booked, book_run
from tests.ledger import server as postgresql
from tests.ledger.records import synthetic_record
from tests.ledger.server import Server

DATABASES = ("sqlite", "postgresql")
PEOPLE = ("alice", "bob", "carol")
START = datetime(2026, 3, 2, tzinfo=UTC)


def ticking(looks: int = 0) -> Clock:
    """A clock that advances a second at each look, as if it had been looked at so often already."""
    seconds = count(looks)
    return lambda: START + timedelta(seconds=next(seconds))


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A PostgreSQL server, started when the first test asks for it."""
    with postgresql.running() as started:
        yield started


class Template:
    """An empty ledger, made once and copied for each test."""

    def __init__(self, place: str | Path) -> None:
        self.looks = 0
        Ledger.create(place, clock=self._look).close()

    def _look(self) -> datetime:
        self.looks += 1
        return START + timedelta(seconds=self.looks - 1)


@pytest.fixture(scope="session")
def template_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Template]:
    path = tmp_path_factory.mktemp("template") / "books.db"
    return path, Template(path)


@pytest.fixture(scope="session")
def template_database(server: Server) -> tuple[str, Template]:
    name = server.make()
    return name, Template(server.url(name))


@contextmanager
def copied_file(template: tuple[Path, Template], folder: Path) -> Iterator[Ledger]:
    path, made = template
    shutil.copyfile(path, folder / "books.db")
    with Ledger.open(folder / "books.db", clock=ticking(made.looks)) as books:
        yield books


@contextmanager
def copied_database(template: tuple[str, Template], server: Server) -> Iterator[Ledger]:
    name, made = template
    database = server.make(name)
    try:
        with Ledger.open(server.url(database), clock=ticking(made.looks)) as books:
            yield books
    finally:
        server.drop(database)


@pytest.fixture(params=DATABASES)
def books(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger, on each database, whose clock advances a second at each look.

    The templates are asked for only here: what runs on SQLite alone starts no server.
    """
    if request.param == "sqlite":
        with copied_file(request.getfixturevalue("template_file"), tmp_path) as made:
            yield made
    else:
        server = request.getfixturevalue("server")
        with copied_database(request.getfixturevalue("template_database"), server) as made:
            yield made


@pytest.fixture
def file_books(template_file: tuple[Path, Template], tmp_path: Path) -> Iterator[Ledger]:
    """The same in a SQLite file, for what is about files."""
    with copied_file(template_file, tmp_path) as made:
        yield made


@pytest.fixture
def server_books(template_database: tuple[str, Template], server: Server) -> Iterator[Ledger]:
    """The same on PostgreSQL, for what is about servers."""
    with copied_database(template_database, server) as made:
        yield made


def staff(books: Ledger) -> Ledger:
    """Add three contributors, each with a dataset and consent since January."""
    with books.writing() as session:
        for name in PEOPLE:
            registry.add_contributor(session, name, name.title())
            registry.register_dataset(
                session,
                name,
                [f"{name} one", f"{name} two"],
                name=f"{name}'s texts",
                licence="CC-BY-4.0",
                consent_given_at="2026-01-01",
                paths=[f"data/{name}.txt"],
            )
    return books


@pytest.fixture
def staffed(books: Ledger) -> Ledger:
    """A ledger with three contributors, each with a dataset and consent since January."""
    return staff(books)


@pytest.fixture
def staffed_file(file_books: Ledger) -> Ledger:
    """The same in a SQLite file."""
    return staff(file_books)


def booking(folder: Path) -> Callable[..., Booked]:
    """What saves a synthetic record in a folder, and books it."""
    numbers = count(1)

    def save_and_book(session: Session, values: dict[str, Any], **options: Any) -> Booked:
        by_task = {name: value if isinstance(value, list) else [value] for name, value in values.items()}
        number = next(numbers)
        partial = options.pop("partial", False)
        record = synthetic_record(by_task, number=number, **options)
        return book_run(session, record.save(folder / f"run-{number}"), partial=partial)

    return save_and_book


@pytest.fixture
def book(tmp_path: Path) -> Callable[..., Booked]:
    """Saves a synthetic record beside the books, and books it."""
    return booking(tmp_path)
