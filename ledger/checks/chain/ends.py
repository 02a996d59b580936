"""What became of publications: in turn, once each, and of everything that they had set aside."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest

from sqlmodel import Session, col, select

from ledger import publication_entries as entries
from ledger.checks.chain.publications import DAMAGED
from ledger.checks.fault import Fault, differences, line_faults, stated, stated_in
from ledger.checks.streams import stream
from ledger.models import Distributor, Entry, Part, Publication, PublicationEnd
from ledger.models.chain import ENDS
from ledger.publication_entries import ACTIVATED, AFTER, INTENDED
from ledger.published import waiting_of

ENDED = "ends of publications"
END_CLAIMS = {ENDED: "publications are published, activated, revoked and abandoned in turn, and their money follows"}


def end_faults(session: Session) -> Iterator[Fault]:
    """What does not hold of the ends of publications."""
    numbers = session.exec(select(PublicationEnd.entry, PublicationEnd.publication).order_by(col(PublicationEnd.entry)))
    earlier: dict[int, list[int]] = {}
    ids: dict[tuple[int, int], int] = {}
    for number, publication in numbers.all():
        try:
            yield from _one(session, number, earlier.get(publication, []), ids)
        except DAMAGED as error:
            yield Fault(ENDED, f"publication {publication}, entry {number}: cannot be recomputed: {error}")
        earlier.setdefault(publication, []).append(number)
        session.expunge_all()
    made = select(PublicationEnd.entry)
    query = select(Entry).where(col(Entry.kind).in_(ENDS.values()), col(Entry.sequence).not_in(made))
    for entry in session.exec(query):
        yield Fault(ENDED, f"{entry.kind}, entry {entry.sequence}: the row that it made is missing")


def _one(session: Session, number: int, before: list[int], ids: dict[tuple[int, int], int]) -> Iterator[Fault]:
    end = session.get_one(PublicationEnd, number)
    name = f"publication {end.publication}, {end.change} by entry {number}"
    made = session.get_one(Publication, end.publication)
    distributor = session.get_one(Distributor, made.distributor)
    ends = [session.get_one(PublicationEnd, one) for one in before]
    now = ends[-1].change if ends else INTENDED
    if now not in AFTER.get(end.change, ()) or number <= made.entry:
        yield Fault(ENDED, f"{name}: it was {now} ahead of that")
        return
    if end.change == "published":
        first = ids.setdefault((made.distributor, made.root_id), made.entry)
        if first != made.entry:
            yield Fault(ENDED, f"{name}: publication {first} was published with the same root id {made.root_id}")
    entry = session.get(Entry, number)
    if entry is None or entry.kind != ENDS[end.change] or entry.subject != distributor.subject():
        yield Fault(ENDED, f"{name}: entry {number} is not its entry")
        return
    said = stated(entry) or {}
    # What it says of transactions is compared where these are.
    wanted = entries.end_payload(end, ()) | {"attempts": said.get("attempts")}
    for difference in differences(said, wanted):
        yield Fault(ENDED, f"{name}: the row and its entry differ: {difference}")
    yield from _money_faults(session, name, end, made, ends, now, distributor.asset)


def _money_faults(
    session: Session,
    name: str,
    end: PublicationEnd,
    made: Publication,
    ends: list[PublicationEnd],
    now: str,
    asset: str,
) -> Iterator[Fault]:
    def waiting() -> Iterator[entries.Waiting]:
        return iter(()) if end.change == ACTIVATED else waiting_of(session, made, ends)

    query = select(Part.contributor, Part.payload).where(Part.entry == end.entry).order_by(col(Part.number))
    for found, one in zip_longest(stream(session, query), waiting()):
        who, payload = found or ("nobody", "{}")
        right = "nobody" if one is None else one.contributor
        if who != right:
            yield Fault(ENDED, f"{name}: is about {who!r} where {right!r} should be")
            break
        for difference in differences(stated_in(payload) or {}, entries.end_part(one, end.change, now, asset)):
            yield Fault(ENDED, f"{name}: what it says of {who!r} and what is recomputed differ: {difference}")
    yield from line_faults(session, ENDED, name, end.entry, entries.end_lines(waiting(), end.change, now, asset))
