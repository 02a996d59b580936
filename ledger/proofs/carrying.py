"""Making a statement's proofs from the books: each entry it rests on, others' parts and postings left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from ledger.batches import batches
from ledger.canonical import part_leaf, posting_leaf, sha256
from ledger.errors import CheckpointError
from ledger.evidence import entries_about, parts_of, postings_of
from ledger.facts import SHOWN
from ledger.lines import Line
from ledger.models import Entry, Part, Posting
from ledger.proofs import log, tree
from ledger.proofs.checkpoint import Checkpoint, check_continues
from ledger.proofs.proved_entry import ProvedEntry, ProvedPart, ProvedPosting
from ledger.proofs.statement_proof import FORMAT, Continued, StatementProof

_BATCH = 400  # entries of one query
_ROWS = 10_000  # of one fetch
_NOTHING = tree.prove([])


def carry(
    session: Session, contributor: str, signed: str, checkpoint: Checkpoint, older: Checkpoint | None = None
) -> StatementProof:
    """The proofs of a contributor's statement as of a checkpoint, of which `signed` is the note.

    With `older`, also the proof that the checkpoint continues that one. Raises `CheckpointError` where the journal is
    not the one that the checkpoint stands for, and what `check_continues` does.
    """
    sequences = entries_about(session, contributor, checkpoint.size)
    indices = [sequence - 1 for sequence in (*sequences, checkpoint.size)]
    sizes = [older.size] if older is not None and older.size <= checkpoint.size else []
    proved = log.prove(session, checkpoint.size, indices, sizes)
    if proved.root != checkpoint.root:
        raise CheckpointError("the journal is not what the checkpoint stands for: history was rewritten since")
    continues = None
    if older is not None:
        path = proved.consistency.get(older.size, ())
        check_continues(older, checkpoint, older.size, path)
        continues = Continued(older=older.size, path=_hex(path))
    return StatementProof(
        format=FORMAT,
        checkpoint=signed,
        continues=continues,
        head_path=_hex(proved.inclusion[checkpoint.size - 1]),
        entries=[
            entry for batch in batches(sequences, _BATCH) for entry in _entries(session, contributor, batch, proved)
        ],
    )


def _entries(session: Session, contributor: str, sequences: list[int], proved: tree.Proved) -> Iterator[ProvedEntry]:
    own_parts, own_postings = parts_of(session, contributor, sequences), postings_of(session, contributor, sequences)
    parts_trees = _trees(_part_leaves(session, sequences), own_parts)
    postings_trees = _trees(_posting_leaves(session, sequences), own_postings)
    for entry in session.exec(select(Entry).where(col(Entry.sequence).in_(sequences)).order_by(col(Entry.sequence))):
        parts, postings = parts_trees.get(entry.sequence, _NOTHING), postings_trees.get(entry.sequence, _NOTHING)
        shown = entry.kind in SHOWN
        yield ProvedEntry(
            sequence=entry.sequence,
            recorded_at=entry.recorded_at,
            event_at=entry.event_at,
            key=entry.key,
            previous=entry.previous,
            kind=entry.kind,
            subject=entry.subject,
            stated_at=entry.stated_at,
            reason=entry.reason,
            reference=entry.reference,
            reverses=entry.reverses,
            payload=entry.payload if shown else None,
            payload_sha256=None if shown else sha256(entry.payload.encode()),
            parts_root=parts.root.hex(),
            parts_count=parts.size,
            parts=[
                ProvedPart(index=row.number - 1, payload=row.payload, path=_hex(parts.inclusion[row.number - 1]))
                for row in own_parts.get(entry.sequence, [])
            ],
            postings_root=postings.root.hex(),
            postings_count=postings.size,
            postings=[
                ProvedPosting(
                    index=row.line - 1,
                    account=row.account,
                    commodity=row.commodity,
                    side=row.side,  # type: ignore[arg-type]  # a constraint holds it
                    amount=str(row.amount),
                    path=_hex(postings.inclusion[row.line - 1]),
                )
                for row in own_postings.get(entry.sequence, [])
            ],
            path=_hex(proved.inclusion[entry.sequence - 1]),
        )


def _trees(leaves: Iterator[tuple[int, bytes]], own: Mapping[int, Sequence[Part | Posting]]) -> dict[int, tree.Proved]:
    """The inner tree of each entry, from its leaves in order, with proofs for the contributor's own rows."""
    return {
        sequence: tree.prove((tree.leaf_hash(leaf) for _, leaf in rows), map(_index, own.get(sequence, [])))
        for sequence, rows in groupby(leaves, key=itemgetter(0))
    }


def _index(row: Part | Posting) -> int:
    return (row.number if isinstance(row, Part) else row.line) - 1


def _part_leaves(session: Session, sequences: list[int]) -> Iterator[tuple[int, bytes]]:
    columns: Any = (Part.entry, Part.contributor, Part.payload)
    query = sa.select(*columns).where(col(Part.entry).in_(sequences)).order_by(col(Part.entry), col(Part.number))
    for sequence, contributor, payload in _stream(session, query):
        yield sequence, part_leaf(contributor, payload)


def _posting_leaves(session: Session, sequences: list[int]) -> Iterator[tuple[int, bytes]]:
    columns: Any = (Posting.entry, Posting.account, Posting.commodity, Posting.side, Posting.amount)
    query = sa.select(*columns).where(col(Posting.entry).in_(sequences))
    for sequence, *fields in _stream(session, query.order_by(col(Posting.entry), col(Posting.line))):
        yield sequence, posting_leaf(Line(*fields))


def _stream(session: Session, query: Any) -> Iterator[Any]:
    yield from session.connection().execute(query.execution_options(yield_per=_ROWS))


def _hex(path: Iterable[bytes]) -> list[str]:
    return [hash.hex() for hash in path]
