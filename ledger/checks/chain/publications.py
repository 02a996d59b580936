"""Publications: what they say is what contributors were due then, and commits to the log as it was."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

from sqlalchemy.exc import NoResultFound
from sqlmodel import Session, col, select

from ledger import publication_entries as entries
from ledger import registry
from ledger.checks.fault import Fault, differences, line_faults, stated, stated_in
from ledger.checks.streams import as_stored, stream
from ledger.errors import LedgerError
from ledger.exact_integer import decode
from ledger.models import Distributor, Entry, Leaf, Part, Publication, PublicationEnd
from ledger.proofs import log, tree
from ledger.proofs.checkpoint import Checkpoint
from ledger.publication_entries import ABANDONED, INTENDED, PUBLISHED, Due
from ledger.publishable import due, standing

PUBLICATIONS = "publications"
PUBLICATION_CLAIMS = {
    PUBLICATIONS: "every publication holds what each contributor was due then, at their address, and the log's hash"
}
DAMAGED = (LedgerError, NoResultFound, ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError)


def publication_faults(session: Session) -> Iterator[Fault]:
    """What does not hold of what was to be published."""
    hashes = _log_hashes(session)
    for number in session.exec(select(Publication.entry).order_by(col(Publication.entry))).all():
        try:
            yield from _one(session, session.get_one(Publication, number), hashes)
        except DAMAGED as error:
            yield Fault(PUBLICATIONS, f"publication {number}: cannot be recomputed: {error}")
        session.expunge_all()
    made = select(Publication.entry)
    query = select(Entry).where(Entry.kind == Publication.entry_kind, col(Entry.sequence).not_in(made))
    for entry in session.exec(query):
        yield Fault(PUBLICATIONS, f"publication {entry.sequence}: the row that its entry made is missing")


def state_before(session: Session, publication: int, before: int) -> str:
    """What a publication was ahead of an entry."""
    query = select(PublicationEnd.change).where(
        PublicationEnd.publication == publication, PublicationEnd.entry < before
    )
    return session.exec(query.order_by(col(PublicationEnd.entry).desc()).limit(1)).first() or INTENDED


def _one(session: Session, made: Publication, hashes: Mapping[int, str]) -> Iterator[Fault]:
    number = made.entry
    name = f"publication {number}"
    distributor = session.get_one(Distributor, made.distributor)
    entry = session.get(Entry, number)
    if entry is None or entry.kind != Publication.entry_kind or entry.subject != distributor.subject():
        yield Fault(PUBLICATIONS, f"{name}: entry {number} is not its entry")
        return
    said = stated(entry) or {}
    as_of = str(said.get("as_of"))
    for difference in differences(said, entries.publication_payload(distributor, made, as_of)):
        yield Fault(PUBLICATIONS, f"{name}: the row and its entry differ: {difference}")
    before = session.exec(select(Entry.recorded_at).where(Entry.sequence == number - 1)).first() or ""
    if not before <= as_of <= entry.recorded_at:
        yield Fault(PUBLICATIONS, f"{name}: is as of {as_of}, and recorded between {before} and {entry.recorded_at}")
    if hashes.get(made.log_size) != made.metadata_hash or made.log_size != number - 1:
        yield Fault(
            PUBLICATIONS,
            f"{name}: its metadata hash is not that of the log's first {made.log_size} entries, ahead of its own",
        )
    yield from _order_faults(session, name, made)
    stands = standing(session, distributor.id, before=number)
    wanted, _ = due(session, distributor, as_of, stands, before=number)
    yield from _leaf_faults(session, name, number, wanted)
    yield from _part_faults(session, name, number, wanted, distributor.asset)
    yield from line_faults(session, PUBLICATIONS, name, number, entries.publication_lines(wanted, distributor.asset))
    total = sum((stands | {one.address: one.cumulative for one in wanted}).values())
    if total != made.total:
        yield Fault(PUBLICATIONS, f"{name}: its tree comes to {total}, and it says {made.total}")


def _order_faults(session: Session, name: str, made: Publication) -> Iterator[Fault]:
    """One is open at a time, and ids grow: only an id that was abandoned is used again."""
    earlier = select(Publication.entry, Publication.root_id).where(
        Publication.distributor == made.distributor, Publication.entry < made.entry
    )
    for other, root_id in session.exec(earlier.order_by(col(Publication.entry))):
        was = state_before(session, other, made.entry)
        if was in (INTENDED, PUBLISHED):
            yield Fault(PUBLICATIONS, f"{name}: was intended while publication {other} was {was}")
        if was != ABANDONED and root_id >= made.root_id:
            yield Fault(PUBLICATIONS, f"{name}: has root {made.root_id} after publication {other} had root {root_id}")


def _leaf_faults(session: Session, name: str, number: int, wanted: list[Due]) -> Iterator[Fault]:
    columns: Any = (Leaf.contributor, Leaf.address, as_stored(Leaf.amount), as_stored(Leaf.cumulative))
    query = select(*columns).where(Leaf.publication == number).order_by(col(Leaf.contributor))
    right = {one.contributor: one for one in wanted}
    for contributor, address, *stored in stream(session, query):
        one = right.pop(contributor, None)
        try:
            found = Due(contributor, address, *map(decode, stored))
        except LedgerError as error:
            yield Fault(PUBLICATIONS, f"{name}: leaf of {contributor!r}: {error}")
            continue
        if one is None:
            yield Fault(PUBLICATIONS, f"{name}: leaf of {contributor!r}: nothing was to be published for them then")
        elif found.address != one.address:
            yield Fault(
                PUBLICATIONS, f"{name}: leaf of {contributor!r}: {address} was not in force then, but {one.address}"
            )
        for what in ("amount", "cumulative") if one is not None else ():
            if getattr(found, what) != getattr(one, what):
                yield Fault(
                    PUBLICATIONS,
                    f"{name}: leaf of {contributor!r}: {what} is {getattr(found, what)}, not {getattr(one, what)}",
                )
    for contributor in right:
        yield Fault(PUBLICATIONS, f"{name}: leaf of {contributor!r}: is missing, of what was due then")


def _part_faults(session: Session, name: str, number: int, wanted: list[Due], asset: str) -> Iterator[Fault]:
    query = select(Part.contributor, Part.payload).where(Part.entry == number).order_by(col(Part.number))
    for found, one in zip_longest(stream(session, query), wanted):
        who, payload = found or ("nobody", "{}")
        right = "nobody" if one is None else one.contributor
        if who != right:
            yield Fault(PUBLICATIONS, f"{name}: is about {who!r} where {right!r} should be")
            return
        for difference in differences(stated_in(payload) or {}, entries.publication_part(one, asset)):
            yield Fault(PUBLICATIONS, f"{name}: what it says of {who!r} and what is recomputed differ: {difference}")


def _log_hashes(session: Session) -> dict[int, str]:
    """The hash of the unsigned checkpoint of the log at every size that a publication commits to, in one pass."""
    sizes = set(session.exec(select(Publication.log_size)))
    found: dict[int, str] = {}
    if not sizes:
        return found
    try:
        origin = registry.origin(session)
        peaks: list[tuple[int, bytes]] = []
        for size, leaf in enumerate(log.leaf_hashes(session, max(sizes)), start=1):
            subtree = (1, leaf)
            while peaks and peaks[-1][0] == subtree[0]:
                count, left = peaks.pop()
                subtree = (2 * count, tree.node_hash(left, subtree[1]))
            peaks.append(subtree)
            if size in sizes:
                text = Checkpoint(origin, size, _whole(peaks)).text
                found[size] = "0x" + hashlib.sha256(text.encode()).hexdigest()
    except DAMAGED:
        pass  # what cannot be read is named where it is checked, and each publication after it here
    return found


def _whole(peaks: list[tuple[int, bytes]]) -> bytes:
    whole = peaks[-1][1]
    for _, left in reversed(peaks[:-1]):
        whole = tree.node_hash(left, whole)
    return whole
