"""The log of a ledger: its root is that of its entries' leaves, and what does not fit is not signed."""

from __future__ import annotations

from pathlib import Path

import pytest
import rfc8785
from sqlalchemy import text
from sqlmodel import select

from ledger import registry, triggers
from ledger.database import Ledger
from ledger.errors import CheckpointError, ConsistencyProofError, OriginError, SettingError
from ledger.models import Entry
from ledger.proofs import log, tree
from ledger.proofs.checkpoint import Checkpoint
from tests.ledger.proofs.test_tree import naive_root


def leaf(entry: Entry) -> bytes:
    """An entry's leaf as the documentation of `ledger/canonical.py` has it, made anew."""
    fields = ("sequence", "recorded_at", "event_at", "key", "content", "previous")
    return rfc8785.dumps({name: getattr(entry, name) for name in fields})


def test_the_root_is_that_of_the_leaves_which_the_entries_make(staffed: Ledger) -> None:
    with staffed.reading() as session:
        entries = list(session.exec(select(Entry).order_by(Entry.sequence)))  # type: ignore[arg-type]
        hashes = [tree.leaf_hash(leaf(entry)) for entry in entries]
        assert [entry.hash for entry in entries] == [hash.hex() for hash in hashes]
        made = log.checkpoint(session)
        assert made == Checkpoint(registry.origin(session), len(entries), naive_root(hashes))
        assert log.prove(session, 5).root == naive_root(hashes[:5])


def test_a_ledger_continues_each_of_its_own_checkpoints(staffed: Ledger) -> None:
    with staffed.writing() as session:
        older = [log.checkpoint(session)]
        for name in ("dora", "emil", "fay"):
            registry.add_contributor(session, name)
            older.append(log.checkpoint(session))
        for kept in older:
            newer, path = log.continued(session, kept)
            assert newer == older[-1]
            tree.verify_consistency(kept.size, newer.size, kept.root, newer.root, path)


def test_another_ledgers_checkpoint_is_not_continued(staffed: Ledger) -> None:
    with staffed.reading() as session:
        now = log.checkpoint(session)
        with pytest.raises(OriginError):
            log.continued(session, Checkpoint("elsewhere", now.size, now.root))
        with pytest.raises(CheckpointError, match="cut short"):
            log.continued(session, Checkpoint(now.origin, now.size + 1, now.root))
        with pytest.raises(ConsistencyProofError):
            log.continued(session, Checkpoint(now.origin, now.size - 1, now.root))


def tampered(books: Ledger, sql: str) -> None:
    with books.engine.begin() as connection:
        triggers.remove(connection)
        connection.execute(text(sql))


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("UPDATE head SET count = count + 1", CheckpointError),
        ("UPDATE entries SET hash = 'no hash at all' WHERE sequence = 2", CheckpointError),
        ("DELETE FROM settings WHERE name = 'origin'", SettingError),
        ("UPDATE settings SET value = 'a b' WHERE name = 'origin'", SettingError),
    ],
)
def test_books_that_do_not_fit_together_are_not_signed(file_books: Ledger, sql: str, error: type[Exception]) -> None:
    tampered(file_books, "PRAGMA ignore_check_constraints = ON")
    tampered(file_books, sql)
    with file_books.reading() as session, pytest.raises(error):
        log.checkpoint(session)


def test_every_ledger_has_an_origin_of_its_own_unless_it_is_given_one(tmp_path: Path) -> None:
    origins = []
    for name in ("one", "two"):
        with Ledger.create(tmp_path / name) as books, books.reading() as session:
            origins.append(registry.origin(session))
    assert origins[0] != origins[1]
    assert all(origin.startswith("ghostledger/") for origin in origins)
    with Ledger.create(tmp_path / "three", origin="ledger.example/books") as books, books.reading() as session:
        assert registry.origin(session) == "ledger.example/books"
        assert log.checkpoint(session).origin == "ledger.example/books"


@pytest.mark.parametrize("origin", ["", "a b", "a+b", "a\nb", "x" * 201])
def test_what_cannot_be_an_origin_makes_no_ledger(tmp_path: Path, origin: str) -> None:
    with pytest.raises(SettingError, match="origin"):
        Ledger.create(tmp_path / "books.db", origin=origin)
    assert list(tmp_path.iterdir()) == []
