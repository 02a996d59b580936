"""A ledger that cannot be read or written, from the command line: exit code 2, one line, and nothing half-done."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from ledger.cli import main
from ledger.database import Ledger
from tests.ledger.reliability.killing import BEFORE, prepare, run, stored
from tests.ledger.test_failures import bound_by_modes

PAGE = 4096
CRASHED = 70  # the exit code of a child that ended by an exception


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a ledger and what the commands name."""
    folder = tmp_path_factory.mktemp("prepared")
    with Ledger.create(folder / "books.db", clock=lambda: BEFORE) as books:
        prepare(books, folder)
        with books.reading() as session:
            (folder / "second-run").write_text(run(session, 1))
    (folder / "texts").mkdir()
    (folder / "texts" / "one.txt").write_text("something new")
    return folder


@pytest.fixture
def folder(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made: Path = shutil.copytree(prepared, tmp_path / "here")
    monkeypatch.chdir(made)
    monkeypatch.setenv("GHOSTLEDGER", "books.db")
    return made


COMMANDS = {
    "contributor add": "contributor add dave",
    "dataset register": "dataset register alice texts --licence MIT --consent-given 2026-01-01",
    "import-run": "import-run run-2",
    "settle": "settle {run} --pool 100.00 EUR",
    "pay": "pay start alice EUR",
    "release": "release --due",
    "reverse": "reverse run-3 --reason wrong",
    "audit": "audit --json",
    "statement": "statement alice --json",
    "contributor list": "contributor list --json",
}
READING = ("audit", "statement", "contributor list")
SMALL = ("contributor add", "dataset register", "pay")  # may fit into what is left of a page


def asked(folder: Path, name: str) -> int:
    return main(COMMANDS[name].format(run=(folder / "second-run").read_text()).split())


def listing(folder: Path) -> dict[str, bytes]:
    """Every file and what it holds, but for those that SQLite keeps beside a file that it may not write."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(("-wal", "-shm"))]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def refused(capsys: pytest.CaptureFixture[str], code: int) -> str:
    said = capsys.readouterr()
    assert (code, said.out) == (2, ""), said
    assert said.err.startswith("ghostledger: ")
    assert said.err.count("\n") == 1
    return said.err


# Situations: each a change to the folder, or to this process, while it lasts.


@contextmanager
def full(folder: Path, more: int = 0) -> Iterator[None]:
    pages = (folder / "books.db").stat().st_size // PAGE + more

    def limit(connection: Any, _: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")

    event.listen(Engine, "connect", limit)
    try:
        yield
    finally:
        event.remove(Engine, "connect", limit)


@contextmanager
def modes(folder: Path, file: int = 0o600, own: int = 0o700) -> Iterator[None]:
    (folder / "books.db").chmod(file)
    folder.chmod(own)
    try:
        with bound_by_modes():
            yield
    finally:
        folder.chmod(0o700)
        (folder / "books.db").chmod(0o600)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    with Ledger.open(folder / "books.db") as other, other.writing():
        yield


def version(folder: Path, revision: str) -> None:
    with sqlite3.connect(folder / "books.db") as database:
        database.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    database.close()


def changed(change: Callable[[Path], object]) -> Callable[[Path], AbstractContextManager[None]]:
    def situation(folder: Path) -> AbstractContextManager[None]:
        change(folder)
        return nullcontext()

    return situation


def overwrite(folder: Path, content: bytes, at: int = 0) -> None:
    whole = (folder / "books.db").read_bytes()
    (folder / "books.db").write_bytes(whole[:at] + content + whole[at + len(content) :])


def put(folder: Path, content: bytes | None) -> None:
    (folder / "books.db").unlink()
    if content is not None:
        (folder / "books.db").write_bytes(content)


def other_tables(folder: Path) -> None:
    put(folder, None)
    with sqlite3.connect(folder / "books.db") as database:
        database.execute("CREATE TABLE songs (title)")
    database.close()


def a_folder(folder: Path) -> None:
    put(folder, None)
    (folder / "books.db").mkdir()


SITUATIONS: dict[str, tuple[Callable[[Path], AbstractContextManager[None]], bool, str]] = {
    # what happens, whether reading is refused too, and what the line says
    "a full disk": (full, False, "out of room"),
    "a read-only file": (lambda folder: modes(folder, file=0o400), False, "read-only"),
    "a read-only folder": (lambda folder: modes(folder, own=0o500), True, "read-only"),
    "a file of somebody else's": (lambda folder: modes(folder, file=0), True, "ermission denied"),
    "another writer": (locked, False, "is busy with others"),
    "a newer schema": (changed(lambda folder: version(folder, "9999")), True, "install a newer ghostledger"),
    "a schema from before": (changed(lambda folder: version(folder, "0001")), True, "before the first release"),
    "no file": (changed(lambda folder: put(folder, None)), True, "there is no ledger here"),
    "an empty file": (changed(lambda folder: put(folder, b"")), True, "not a SQLite database"),
    "a text": (changed(lambda folder: put(folder, b"dear diary\n" * 999)), True, "not a SQLite database"),
    "a folder": (changed(a_folder), True, "it is a folder"),
    "another program's database": (changed(other_tables), True, "other tables"),
    "a file cut off": (changed(lambda folder: os.truncate(folder / "books.db", 10 * PAGE)), True, "damaged"),
    "pages overwritten": (changed(lambda folder: overwrite(folder, b"\xaa" * PAGE * 200, PAGE)), True, "damaged"),
}


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("situation", SITUATIONS)
def test_what_cannot_be_done_is_refused_in_one_line_and_leaves_all_as_it_was(
    folder: Path, situation: str, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.places.WAIT_SECONDS", 0)
    happens, reading_too, word = SITUATIONS[situation]
    with happens(folder):
        before = listing(folder) if situation != "a file of somebody else's" else None
        code = asked(folder, name)
        if name in READING and not reading_too:
            assert code == 0, capsys.readouterr().err
            return
        if name in SMALL and situation == "a full disk" and code == 0:
            return  # there was room for so little
        line = refused(capsys, code)
        assert word in line
        assert "books.db" in line
        if situation not in ("another writer", "a file of somebody else's"):
            assert listing(folder) == before
    if situation in ("a full disk", "a read-only file", "a read-only folder", "another writer"):
        assert asked(folder, name) == 0, "it is not done either when it can be"
        assert main(["audit"]) == 0


def test_a_full_disk_is_met_anywhere_in_a_settlement(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = stored("books.db")
    for more in range(200):
        with full(folder, more):
            code = asked(folder, "settle")
        if code == 0:
            break
        assert "out of room" in refused(capsys, code)
        assert stored("books.db") == before
    assert more > 1
    assert main(["audit"]) == 0


@pytest.mark.parametrize("kilobytes", [0, 8, 40, 100, 160, 240, 400, 10_000])
def test_a_write_that_fails_below_sqlite_is_no_success(folder: Path, kilobytes: int) -> None:
    """A limit of the operating system's on the size of any file, in a process of its own."""
    before = stored("books.db")
    child = os.fork()
    if not child:
        code = CRASHED
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # files of the tests are limited too
            resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, kilobytes * 1024))
            code = asked(folder, "settle")
        finally:
            os._exit(code)  # whatever happens: the rest of the tests is the parent's
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    after = stored("books.db")
    assert code in (0, 2)
    assert (after == before) == (code == 2)
    assert main(["audit"]) == 0


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("books.db/inside.db", "File exists"),
        ("second-run/inside/books.db", "Not a directory"),
        (".", "exists already"),
        ("books.db", "exists already"),
    ],
)
def test_a_ledger_is_not_made_where_it_cannot_be(
    folder: Path, place: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = listing(folder)
    assert words in refused(capsys, main(["init", "--ledger", place]))
    assert listing(folder) == before


def test_an_answer_that_cannot_be_written_is_told_and_the_request_is_done(folder: Path) -> None:
    command = [
        sys.executable,
        "-c",
        "import sys; from ledger.cli import main; sys.exit(main())",
        *["pay", "start", "alice", "EUR"],
    ]
    with open("/dev/full", "w") as full_disk:
        made = subprocess.run(command, stdout=full_disk, stderr=subprocess.PIPE, text=True, cwd=folder)
    assert made.returncode == 2
    assert made.stderr == "ghostledger: No space left on device; look what has been done before you ask again\n"
    assert main(["pay", "start", "alice", "EUR"]) == 2  # nothing is left to pay


@pytest.mark.parametrize("more", [-1000, -120, -60])
def test_no_ledger_is_made_on_a_full_disk(folder: Path, more: int, capsys: pytest.CaptureFixture[str]) -> None:
    before = listing(folder)
    pages = (folder / "books.db").stat().st_size // PAGE
    with full(folder, max(more, 2 - pages)):
        code = main(["init", "--ledger", "new/books.db"])
    if code:
        assert "out of room" in refused(capsys, code)
        assert listing(folder) == before
        assert not (folder / "new").exists()


@pytest.mark.parametrize("seed", range(24))
def test_damage_anywhere_is_no_crash(folder: Path, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(seed)
    size = (folder / "books.db").stat().st_size
    for _ in range(chance.choice([1, 1, 3, 30])):
        junk = chance.choice([b"\0", b"\xff", b"\x00" * PAGE, chance.randbytes(chance.choice([1, 4, 100, PAGE]))])
        at = chance.choice([chance.randrange(PAGE), chance.randrange(size), chance.randrange(size // PAGE) * PAGE])
        overwrite(folder, junk, min(at, size - len(junk)))
    for name in COMMANDS:
        before = (folder / "books.db").read_bytes()
        code = asked(folder, name)
        assert code in (0, 1, 2)
        if code == 2:
            refused(capsys, code)
            assert (folder / "books.db").read_bytes() == before
        capsys.readouterr()
