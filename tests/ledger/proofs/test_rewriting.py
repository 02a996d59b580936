"""A history that is rewritten whole passes every audit, except before whoever kept a checkpoint from before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import delete, text, update
from sqlmodel import Session, col, select

from ledger import journal, registry, stakes, triggers
from ledger.audit import audit
from ledger.canonical import (
    GENESIS,
    Request,
    content_hash,
    entry_hash,
    part_leaf,
    posting_leaf,
    root_of,
)
from ledger.database import Ledger
from ledger.errors import CheckpointError, ConsistencyProofError
from ledger.models import Contributor, Entry, Head, Part, PersonalData, Posting
from ledger.money import Amount
from ledger.proofs import log
from ledger.proofs.carrying import carry
from ledger.proofs.checkpoint import Checkpoint, Continuation, open_checkpoint, sign
from ledger.proofs.note import SignerKey

CHECK = "checkpoint"


@contextmanager
def unguarded(books: Ledger) -> Iterator[Session]:
    """A session on books without triggers and constraints, for whoever may do everything; guarded again afterwards."""
    with books.engine.connect() as connection:
        connection.execute(text("PRAGMA defer_foreign_keys = ON"))
        triggers.remove(connection)
        with Session(connection) as session:
            yield session
            session.flush()
        triggers.install(connection)
        connection.commit()


def rehash(session: Session) -> None:
    """Compute every hash anew from what the rows now hold."""
    previous = GENESIS
    for entry in session.exec(select(Entry).order_by(col(Entry.sequence))):
        request = Request(
            entry.kind, entry.subject, entry.payload, entry.stated_at, entry.reason, entry.reference, entry.reverses
        )
        parts = session.exec(select(Part).where(Part.entry == entry.sequence).order_by(col(Part.number)))
        part_root = root_of(part_leaf(part.contributor, part.payload) for part in parts)
        posting_root = root_of(map(posting_leaf, journal.lines_of(session, entry.sequence)))
        content = content_hash(request, part_root, posting_root)
        hash = entry_hash(entry.sequence, entry.recorded_at, entry.event_at, entry.key, content, previous)
        changed = {"content": content, "previous": previous, "hash": hash}
        session.connection().execute(update(Entry).where(col(Entry.sequence) == entry.sequence).values(changed))
        previous = hash
    session.connection().execute(update(Head).values(hash=previous))


@pytest.fixture
def kept(staffed_file: Ledger) -> Checkpoint:
    """A checkpoint from after alice's deposit; more has happened since."""
    with staffed_file.writing() as session:
        stakes.deposit(session, "alice", Amount.parse("500.00 EUR"), key="deposit:1")
        made = log.checkpoint(session)
    with staffed_file.writing() as session:
        registry.add_contributor(session, "dora")
    return made


@pytest.fixture
def rewritten(staffed_file: Ledger, kept: Checkpoint) -> Ledger:
    """The books after somebody made alice's deposit a tenth of what it was, and everything else fit it."""
    with unguarded(staffed_file) as session:
        entry = session.exec(select(Entry.sequence).where(Entry.key == "deposit:1")).one()
        said = session.exec(select(Part.payload).where(Part.entry == entry)).one()
        smaller = {"amount": 5_000, "balance": 5_000}
        session.connection().execute(update(Posting).where(col(Posting.entry) == entry).values(smaller))
        corrected = {"payload": said.replace('"50000"', '"5000"')}
        session.connection().execute(update(Part).where(col(Part.entry) == entry).values(corrected))
        session.expire_all()
        rehash(session)
    return staffed_file


def cut_short(books: Ledger) -> None:
    """Undo the last entry without a trace: the entry itself, its rows, and the head."""
    with unguarded(books) as session:
        connection = session.connection()
        last = session.exec(select(Entry).order_by(col(Entry.sequence).desc())).first()
        assert last is not None
        assert last.kind == "contributor"
        connection.execute(delete(PersonalData).where(col(PersonalData.contributor) == last.subject))
        connection.execute(delete(Contributor).where(col(Contributor.id) == last.subject))
        connection.execute(delete(Entry).where(col(Entry.sequence) == last.sequence))
        connection.execute(update(Head).values(count=last.sequence - 1, hash=last.previous))


def faults(books: Ledger, checkpoint: Checkpoint | None) -> list[tuple[str, str]]:
    with books.reading() as session:
        return [(check.name, check.detail) for check in audit(session, checkpoint=checkpoint).checks if not check.ok]


def test_untouched_books_hold_against_a_checkpoint_that_was_kept(staffed_file: Ledger, kept: Checkpoint) -> None:
    assert faults(staffed_file, kept) == []
    with staffed_file.reading() as session:
        assert faults(staffed_file, log.checkpoint(session)) == []


def test_history_rewritten_between_two_checkpoints_passes_the_audit_but_not_the_older_checkpoint(
    rewritten: Ledger, kept: Checkpoint
) -> None:
    assert faults(rewritten, None) == [], "every hash is right again, so nothing inside the books gives it away"
    ((check, detail),) = faults(rewritten, kept)
    assert check == CHECK
    assert "history was rewritten" in detail
    with rewritten.reading() as session, pytest.raises(ConsistencyProofError, match="changed"):
        log.continued(session, kept)
    with rewritten.reading() as session, pytest.raises(ConsistencyProofError, match="changed"):
        carry(session, "alice", "", log.checkpoint(session), kept)


def test_whoever_rewrote_history_can_sign_it_but_not_prove_that_it_continues(
    rewritten: Ledger, kept: Checkpoint
) -> None:
    """Not even the operator, with the key and any proof that the new log can give."""
    with rewritten.reading() as session:
        key = SignerKey.generate(kept.origin)
        now = log.checkpoint(session)
        signed = sign(now, key)
        for size in range(now.size + 1):
            path = log.prove(session, now.size, older=[size]).consistency[size]
            for older in {size, kept.size}:
                proof = Continuation.parse(str(Continuation(older, path, signed)))
                with pytest.raises((ConsistencyProofError, CheckpointError)):
                    proof.verify(kept, open_checkpoint(proof.checkpoint, key.verifier))


def test_a_journal_cut_short_passes_the_audit_but_not_the_checkpoint(staffed_file: Ledger, kept: Checkpoint) -> None:
    with staffed_file.reading() as session:
        newest = log.checkpoint(session)
    cut_short(staffed_file)
    assert faults(staffed_file, None) == []
    assert faults(staffed_file, kept) == [], "what was cut off came later"
    ((check, detail),) = faults(staffed_file, newest)
    assert check == CHECK
    assert "cut short" in detail
    with staffed_file.reading() as session, pytest.raises(CheckpointError, match="cut short"):
        log.continued(session, newest)


def test_a_journal_cut_short_and_continued_otherwise_is_found(staffed_file: Ledger, kept: Checkpoint) -> None:
    with staffed_file.reading() as session:
        newest = log.checkpoint(session)
    cut_short(staffed_file)
    with staffed_file.writing() as session:
        for name in ("emil", "fay"):
            registry.add_contributor(session, name)
    assert faults(staffed_file, None) == []
    ((check, detail),) = faults(staffed_file, newest)
    assert (check, "rewritten" in detail) == (CHECK, True)
    with staffed_file.reading() as session, pytest.raises(ConsistencyProofError):
        log.continued(session, newest)


def test_another_ledgers_checkpoint_is_no_witness(staffed_file: Ledger, kept: Checkpoint) -> None:
    found = faults(staffed_file, Checkpoint("elsewhere", kept.size, kept.root))
    assert [check for check, _ in found] == [CHECK]
    assert "'elsewhere'" in found[0][1]


def test_a_row_changed_in_place_is_found_by_the_hashes_and_the_checkpoint_still_holds(
    staffed_file: Ledger, kept: Checkpoint
) -> None:
    """The log is of hashes: that they are those of the rows is the other checks' claim."""
    with unguarded(staffed_file) as session:
        session.connection().execute(update(Posting).where(col(Posting.amount) == 50_000).values(amount=49_999))
    assert {check for check, _ in faults(staffed_file, kept)} & {"entry content"}
    assert CHECK not in {check for check, _ in faults(staffed_file, kept)}
