"""Claims: each is what its entry says, of what was published for the address, in the order of the chain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlmodel import Session, col, select

from ledger import publication_entries as entries
from ledger.checks.chain.publications import DAMAGED
from ledger.checks.fault import Fault, differences, stated_in
from ledger.checks.streams import stream
from ledger.models import ChainClaim, Distributor, Entry, Hold, HoldChange, Publication
from ledger.models.chain import ENDS
from ledger.pending import POSTED
from ledger.publication_entries import ABANDONED, CLAIM, PUBLICATION, PUBLISHED, REVOKED
from ledger.published import owner_of, published_for

CLAIMS = "claims on chains"
CLAIM_CLAIMS = {CLAIMS: "nothing was claimed that was not published, nor twice, and nothing else took of it"}
# Which entries make holds of these purposes, and which end them.
_MAKERS = {PUBLICATION: (Publication.entry_kind,), CLAIM: (ENDS[PUBLISHED],)}
_TAKERS = {
    PUBLICATION: (ENDS[PUBLISHED], ENDS[REVOKED], ENDS[ABANDONED]),
    CLAIM: (ChainClaim.entry_kind, ENDS[REVOKED]),
}


def claim_faults(session: Session) -> Iterator[Fault]:
    """What does not hold of the claims, and of the holds that they are paid from."""
    keys = select(ChainClaim.distributor, ChainClaim.address, ChainClaim.entry)
    order = (col(ChainClaim.distributor), col(ChainClaim.address), col(ChainClaim.entry))
    for (distributor, address), rows in groupby(session.exec(keys.order_by(*order)).all(), key=itemgetter(0, 1)):
        yield from _address_faults(session, distributor, address, [number for _, _, number in rows])
        session.expunge_all()
    made = select(ChainClaim.entry)
    query = select(Entry.sequence).where(Entry.kind == ChainClaim.entry_kind, col(Entry.sequence).not_in(made))
    for entry in session.exec(query):
        yield Fault(CLAIMS, f"claim, entry {entry}: the row that it made is missing")
    yield from _foreign(session)


def _address_faults(session: Session, number: int, address: str, claims: Sequence[int]) -> Iterator[Fault]:
    try:
        distributor = session.get_one(Distributor, number)
        owner = owner_of(session, distributor, address)
        holds = [session.get_one(Hold, hold) for hold in published_for(session, distributor, address)]
        published = {hold.id: (hold.amount, hold.entry) for hold in holds}
    except DAMAGED as error:
        named = ", ".join(f"entry {claim}" for claim in claims)
        yield Fault(CLAIMS, f"claims for {address} ({named}): cannot be read: {error}")
        return
    claimed = 0
    for claim in claims:
        name = f"claim for {address}, entry {claim}"
        try:
            row = session.get_one(ChainClaim, claim)
            yield from _one(session, name, distributor, row, owner, published)
            if row.cumulative != claimed + row.amount:
                yield Fault(CLAIMS, f"{name}: comes to {row.cumulative} after {claimed} and {row.amount}")
            claimed += row.amount
            there = sum(amount for amount, made_by in published.values() if made_by < claim)
            if claimed > there:
                yield Fault(CLAIMS, f"{name}: {claimed} were claimed by then, and {there} published")
        except DAMAGED as error:
            yield Fault(CLAIMS, f"{name}: cannot be read: {error}")


def _one(
    session: Session,
    name: str,
    distributor: Distributor,
    row: ChainClaim,
    owner: str | None,
    published: dict[int, tuple[int, int]],
) -> Iterator[Fault]:
    entry = session.get(Entry, row.entry)
    if entry is None or entry.kind != ChainClaim.entry_kind or entry.subject != owner:
        yield Fault(CLAIMS, f"{name}: entry {row.entry} is not its entry")
        return
    said = stated_in(entry.payload) or {}
    steps = said.pop("hold_changes", None) or []
    for difference in differences(said, entries.claim_payload(distributor, row)):
        yield Fault(CLAIMS, f"{name}: the row and its entry differ: {difference}")
    if entry.key != entries.claim_key(distributor, row):
        yield Fault(CLAIMS, f"{name}: its key is {entry.key}")
    for step in steps:
        if step["hold"] not in published or step["change"] != POSTED or "to" in step:
            yield Fault(CLAIMS, f"{name}: takes from hold {step['hold']}, which was not published for the address")
    taken = sum(int(step["amount"]) for step in steps)
    if taken != row.amount:
        yield Fault(CLAIMS, f"{name}: takes {taken} from what was published, and is of {row.amount}")


def _foreign(session: Session) -> Iterator[Fault]:
    """Holds of what is published, made or changed by entries that are about something else."""
    columns: Any = (Hold.id, Hold.entry, Hold.purpose, Entry.kind)
    made = select(*columns).join(Entry, col(Entry.sequence) == Hold.entry).where(col(Hold.purpose).in_(_MAKERS))
    for hold, entry, purpose, kind in stream(session, made.order_by(col(Hold.id))):
        if kind not in _MAKERS[purpose]:
            yield Fault(CLAIMS, f"hold {hold}: is of a {purpose}, and made by entry {entry}, a {kind}")
    changed = select(HoldChange.hold, HoldChange.entry, Hold.purpose, Entry.kind)
    changed = changed.join(Hold, col(Hold.id) == HoldChange.hold).join(Entry, col(Entry.sequence) == HoldChange.entry)
    query = changed.where(col(Hold.purpose).in_(_TAKERS)).order_by(col(HoldChange.hold), col(HoldChange.entry))
    for (hold, purpose), rows in groupby(stream(session, query), key=lambda row: (row[0], row[2])):
        for _, entry, _, kind in rows:
            if kind not in _TAKERS[purpose]:
                yield Fault(CLAIMS, f"hold {hold}: is of a {purpose}, and changed by entry {entry}, a {kind}")
