"""Kill −9 at every write of a request: afterwards all of it is stored or nothing, and asking again does it once.

The clock stands still, so that a request stores the same bytes whenever it is done: every table is compared whole.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from ledger.audit import audit
from ledger.database import Ledger
from ledger.errors import LedgerError
from tests.ledger.conftest import DATABASES
from tests.ledger.reliability.killing import BEFORE, ONCE, REQUESTS, asked, killed, prepare, stored
from tests.ledger.server import Server


@dataclass
class Prepared:
    """Books in which everything can be asked for, and copies of them."""

    folder: Path
    server: Server | None = None
    database: str = ""

    @property
    def place(self) -> str:
        return self.server.url(self.database) if self.server else str(self.folder / "books.db")

    def copy(self, folder: Path) -> Prepared:
        if self.server:
            return Prepared(self.folder, self.server, self.server.make(self.database))
        return Prepared(shutil.copytree(self.folder, folder))

    def drop(self) -> None:
        if self.server:
            self.server.drop(self.database)


@pytest.fixture(scope="module", params=DATABASES)
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    made = Prepared(tmp_path_factory.mktemp("prepared"))
    if request.param == "postgresql":
        made.server = request.getfixturevalue("server")
        made.database = made.server.make()
    with Ledger.create(made.place, clock=lambda: BEFORE) as books:
        prepare(books, made.folder)
    yield made
    made.drop()


def ask_again(place: str, folder: Path, name: str, *, done: bool) -> None:
    try:
        asked(place, folder, name)
    except LedgerError:
        assert done, "refused what had not been done"
        assert name in ONCE


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_killed_at_any_write_is_done_whole_or_not_at_all(
    prepared: Prepared, tmp_path: Path, name: str
) -> None:
    before = stored(prepared.place)
    undisturbed = prepared.copy(tmp_path / "undisturbed")
    asked(undisturbed.place, undisturbed.folder, name)
    after = stored(undisturbed.place)
    with Ledger.open(undisturbed.place) as books, books.reading() as session:
        found = audit(session)
    assert found.ok, [f"{check.name}: {check.detail}" for check in found.checks if not check.ok]
    assert before != after
    undisturbed.drop()
    copy = prepared.copy(tmp_path / "copy")
    for deadly in count(1):
        # Until the commit was sent, the next one finds the books as they were.
        assert killed(copy.place, copy.folder, name, deadly)
        left = stored(copy.place)
        if left != before:
            break
    assert left == after, f"killed at write {deadly}, half of it is stored"
    assert deadly > 3, "nothing was written"
    ask_again(copy.place, copy.folder, name, done=True)
    assert stored(copy.place) == after
    copy.drop()
    copy = prepared.copy(tmp_path / "another")
    assert killed(copy.place, copy.folder, name, deadly - 1)
    for done in (False, True):
        ask_again(copy.place, copy.folder, name, done=done)
        assert stored(copy.place) == after
    copy.drop()


def test_a_process_is_really_killed(prepared: Prepared, tmp_path: Path) -> None:
    copy = prepared.copy(tmp_path / "copy")
    assert killed(copy.place, copy.folder, "settlement", 1)
    assert stored(copy.place) == stored(prepared.place)
    assert not killed(copy.place, copy.folder, "settlement", 1000)
    copy.drop()
