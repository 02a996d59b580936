"""A ledger's log as its database holds it: the entries' hashes are the leaves, read as a stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sqlmodel import Session, col, select

from ledger import journal, registry
from ledger.errors import CheckpointError, OriginError, TreeSizeError
from ledger.models import Entry
from ledger.proofs import tree
from ledger.proofs.checkpoint import Checkpoint
from ledger.proofs.tree import Proved

_ROWS = 10_000  # of one fetch


def leaf_hashes(session: Session, size: int | None = None) -> Iterator[bytes]:
    """The hashes of the first `size` entries, or of all, as they are stored. Raises `CheckpointError` for no hash."""
    query = select(Entry.hash).order_by(col(Entry.sequence))
    if size is not None:
        query = query.where(Entry.sequence <= size)
    for hash in session.exec(query.execution_options(yield_per=_ROWS)):
        try:
            yield bytes.fromhex(hash)
        except ValueError as error:
            raise CheckpointError(f"the journal holds {hash!r} for a hash; run `ghostledger audit`") from error


def prove(session: Session, size: int, indices: Iterable[int] = (), older: Iterable[int] = ()) -> Proved:
    """The tree over the first `size` entries with the proofs asked for (`tree.prove`).

    Raises `CheckpointError` where the journal is shorter, and `TreeSizeError`.
    """
    try:
        proved = tree.prove(leaf_hashes(session, size), indices, older)
        found = proved.size
    except TreeSizeError as error:
        found = error.size
        if found == size:
            raise
    if found != size:
        raise CheckpointError(f"the journal has {found:,} entries, fewer than {size:,}: it was cut short")
    return proved


def checkpoint(session: Session) -> Checkpoint:
    """The log as it is now. Raises `CheckpointError` where the head does not fit the entries."""
    count, _ = journal.head(session)
    return Checkpoint(registry.origin(session), count, prove(session, count).root)


def continued(session: Session, older: Checkpoint) -> tuple[Checkpoint, tree.Path]:
    """The log as it is now, and the proof that it continues an older checkpoint.

    Raises `OriginError` for another ledger's checkpoint, `CheckpointError` where the journal was cut short, and
    `ConsistencyProofError` where it was rewritten since.
    """
    origin = registry.origin(session)
    if older.origin != origin:
        raise OriginError(older.origin, origin)
    count, _ = journal.head(session)
    if older.size > count:
        raise CheckpointError(f"the journal has {count:,} entries, fewer than {older.size:,}: it was cut short")
    proved = prove(session, count, older=[older.size])
    path = proved.consistency[older.size]
    tree.verify_consistency(older.size, count, older.root, proved.root, path)
    return Checkpoint(origin, count, proved.root), path
