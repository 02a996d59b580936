"""Where the facts about a contributor are in the journal, and reading them from there."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from sqlalchemy import func, union
from sqlmodel import Session, col, or_, select

from ledger import journal, registry
from ledger.accounts import KINDS, account_name
from ledger.batches import batches
from ledger.facts import SHOWN, Fact, Facts
from ledger.lines import Line
from ledger.models import (
    Commodity,
    Consent,
    Contributor,
    Dataset,
    Dispute,
    Entry,
    Estate,
    Group,
    Leaf,
    Part,
    PayoutAddress,
    Posting,
    PublicationEnd,
    Resolution,
)
from ledger.money import NAT
from ledger.valuation_names import PREFIX

_BATCH = 400  # parameters of one query
_MONEY = (Posting.commodity != NAT, func.substr(Posting.commodity, 1, len(PREFIX)) != PREFIX)  # as `is_nats` has it


def own_accounts(contributor: str) -> list[str]:
    """The names of all accounts that a contributor can have."""
    return [account_name(kind, contributor) for kind, means in KINDS.items() if means.owned]


def entries_about(session: Session, contributor: str, through: int | None = None) -> list[int]:
    """The entries that a contributor's statement rests on, in order, as far as `through` if given.

    These are entries with a part or a posting of theirs, what is registered of them, disputes they are a side of, what
    became of publications for them, the commodities that these are in, and the reversals of all these.
    """
    posted = col(Posting.account).in_(own_accounts(contributor))
    datasets = select(Dataset.fingerprint).where(Dataset.contributor == contributor)
    sides = or_(Dispute.claimant == contributor, Dispute.respondent == contributor)
    counted = or_(
        col(Commodity.code).in_(select(Posting.commodity).where(posted, *_MONEY)),
        col(Commodity.code).in_(select(Dispute.asset).where(sides)),
    )
    published = select(Leaf.publication).where(Leaf.contributor == contributor)
    queries: list[Any] = [
        select(Part.entry).where(Part.contributor == contributor),
        select(Posting.entry).where(posted),
        select(Contributor.entry).where(Contributor.id == contributor),
        select(Estate.entry).where(Estate.contributor == contributor),
        select(Group.entry).where(Group.id == contributor),
        select(Dataset.entry).where(Dataset.contributor == contributor),
        select(Consent.entry).where(col(Consent.dataset).in_(datasets)),
        select(Dispute.entry).where(sides),
        select(Resolution.entry).where(col(Resolution.dispute).in_(select(Dispute.entry).where(sides))),
        select(PayoutAddress.entry).where(PayoutAddress.contributor == contributor),
        select(PublicationEnd.entry).where(col(PublicationEnd.publication).in_(published)),
        select(Commodity.entry).where(counted),
    ]
    found = set(session.connection().execute(union(*queries)).scalars())
    for batch in batches(sorted(found), _BATCH):
        found.update(session.exec(select(Entry.sequence).where(col(Entry.reverses).in_(batch))))
    return sorted(sequence for sequence in found if through is None or sequence <= through)


def facts(session: Session, contributor: str, through: int | None = None) -> Facts:
    """The facts about a contributor among the first `through` entries, or all. Raises `UnknownContributorError`."""
    owner = registry.contributor(session, contributor)
    count, head = journal.head(session)
    if through is not None and through != count:
        count, head = through, journal.entry(session, through).hash
    sequences = entries_about(session, owner.id, count)
    found: list[Fact] = []
    for batch in batches(sequences, _BATCH):
        parts = parts_of(session, owner.id, batch)
        lines = postings_of(session, owner.id, batch)
        entries = select(Entry).where(col(Entry.sequence).in_(batch)).order_by(col(Entry.sequence))
        found += [_fact(entry, parts[entry.sequence], lines[entry.sequence]) for entry in session.exec(entries)]
    return Facts(owner.id, count, head, tuple(found))


def _fact(entry: Entry, parts: Iterable[Part], lines: Iterable[Posting]) -> Fact:
    return Fact(
        sequence=entry.sequence,
        kind=entry.kind,
        subject=entry.subject,
        recorded_at=entry.recorded_at,
        event_at=entry.event_at,
        reason=entry.reason,
        reference=entry.reference,
        reverses=entry.reverses,
        payload=json.loads(entry.payload) if entry.kind in SHOWN else {},
        parts=tuple(json.loads(part.payload) for part in parts),
        lines=tuple(Line(row.account, row.commodity, row.side, row.amount) for row in lines),  # type: ignore[arg-type]
    )


def parts_of(session: Session, contributor: str, sequences: Iterable[int]) -> dict[int, list[Part]]:
    """What each of these entries says of a contributor, in its order."""
    found: dict[int, list[Part]] = defaultdict(list)
    query = select(Part).where(col(Part.entry).in_(sequences), Part.contributor == contributor)
    for part in session.exec(query.order_by(col(Part.entry), col(Part.number))):
        found[part.entry].append(part)
    return found


def postings_of(session: Session, contributor: str, sequences: Iterable[int]) -> dict[int, list[Posting]]:
    """The postings of each of these entries on a contributor's accounts, in its order."""
    found: dict[int, list[Posting]] = defaultdict(list)
    query = select(Posting).where(
        col(Posting.entry).in_(sequences), col(Posting.account).in_(own_accounts(contributor))
    )
    for posting in session.exec(query.order_by(col(Posting.entry), col(Posting.line))):
        found[posting.entry].append(posting)
    return found
