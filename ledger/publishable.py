"""Who is due what by a distributor now, and who has money and is kept back, and why; and what stands published.

It needs no library of any chain, so that everybody can check it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sqlmodel import Session, col, exists, select

from ledger import balances
from ledger.balances import Moment
from ledger.batches import batches
from ledger.consents import supplied
from ledger.disputes import open_disputes
from ledger.models import AccountChange, Consent, Distributor, Leaf, Publication, PublicationEnd
from ledger.payout_addresses import Timeline, timelines
from ledger.publication_entries import ABANDONED, REVOKED, Due

KINDS = ("payable", "publishing", "in_flight", "paid")  # of accounts that what is published goes through
_BATCH = 400  # parameters of one query


class KeptBack(NamedTuple):
    """A contributor with money that is not published, minor units, and why not."""

    contributor: str
    amount: int
    reason: str


def due(
    session: Session, distributor: Distributor, at: str, standing: Mapping[str, int], *, before: int | None = None
) -> tuple[list[Due], list[KeptBack]]:
    """Everybody with payable money in the distributor's asset, by id, as they stand at an instant in stored form.

    `standing` is all that the distributor was told to pay so far, by address; `before`: as it was ahead of that entry.
    """
    held = balances.by_contributor(session, "payable", distributor.asset, Moment(before=before))
    payable = {owner: amount for owner, amount in held.items() if amount}
    addresses = timelines(session, distributor.chain_id, at, before=before)
    reasons = withdrawn(session, payable, at, before=before)
    reasons |= disputed(session, before=before)
    reasons |= shut(session, distributor.asset, before=before)
    found: list[Due] = []
    kept: list[KeptBack] = []
    for owner, amount in payable.items():
        own = addresses.get(owner, Timeline())
        why = unaddressed(own, distributor.chain_id) or reasons.get(owner)
        if why is not None or own.address is None:
            kept.append(KeptBack(owner, amount, why or ""))
        else:
            found.append(Due(owner, own.address, amount, standing.get(own.address, 0) + amount))
    return found, kept


def standing(session: Session, distributor: int, *, before: int | None = None) -> dict[str, int]:
    """All that a distributor was told to pay to each address, and that stands; `before`: ahead of that entry."""
    gone = select(PublicationEnd.entry).where(
        PublicationEnd.publication == Publication.entry, col(PublicationEnd.change).in_((REVOKED, ABANDONED))
    )
    query = (
        select(Leaf.address, Leaf.cumulative)
        .join(Publication, col(Publication.entry) == Leaf.publication)
        .where(Publication.distributor == distributor)
    )
    if before is not None:
        gone = gone.where(PublicationEnd.entry < before)
        query = query.where(Publication.entry < before)
    query = query.where(~exists(gone)).order_by(col(Leaf.publication))
    return dict(session.exec(query.execution_options(yield_per=1000)).all())


def leaves_of(session: Session, publication: Publication) -> dict[str, int]:
    """The leaves of a publication's tree: what stood when it was intended, and what it added."""
    added = select(Leaf.address, Leaf.cumulative).where(Leaf.publication == publication.entry)
    return standing(session, publication.distributor, before=publication.entry) | dict(session.exec(added).all())


# Reasons


def unaddressed(found: Timeline, chain_id: int) -> str | None:
    """Why nothing can be sent to a contributor, if so. While an address is to be replaced it may be a lost one."""
    if found.pending is not None:
        return f"address {found.pending} is not in force until {found.pending_from}"
    return None if found.address is not None else f"no payout address on chain {chain_id}"


def disputed(session: Session, *, before: int | None = None) -> dict[str, str]:
    """Both sides of every open dispute."""
    return {
        side: f"dispute {found.entry} is open"
        for found in open_disputes(session, before=before)
        for side in (found.claimant, found.respondent)
        if side is not None
    }


def withdrawn(session: Session, contributors: Iterable[str], at: str, *, before: int | None = None) -> dict[str, str]:
    """Those of these contributors who have withdrawn their consent for a dataset, and not given it again."""
    reasons = {}
    for batch in batches(contributors, _BATCH):
        for owner, fingerprints in supplied(session, batch).items():
            for some in batches(fingerprints, _BATCH):
                for fingerprint, change in _last_changes(session, some, at, before).items():
                    if change == "withdrawn":
                        reasons[owner] = f"consent for dataset {fingerprint[:12]} is withdrawn"
    return reasons


def shut(session: Session, asset: str, *, before: int | None = None) -> dict[str, str]:
    """Contributors one of whose accounts that the money goes through is frozen or closed."""
    query = select(AccountChange).where(AccountChange.commodity == asset)
    if before is not None:
        query = query.where(AccountChange.entry < before)
    last = {row.account: row.change for row in session.exec(query.order_by(col(AccountChange.entry)))}
    reasons = {}
    for account, change in last.items():
        kind, _, owner = account.partition(":")
        if change != "freed" and kind in KINDS and owner:
            reasons[owner] = f"{account} is {change} in {asset}"
    return reasons


def _last_changes(session: Session, fingerprints: list[str], at: str, before: int | None) -> dict[str, str]:
    query = select(Consent.dataset, Consent.change).where(
        col(Consent.dataset).in_(fingerprints), Consent.effective_at <= at
    )
    if before is not None:
        query = query.where(Consent.entry < before)
    return dict(session.exec(query.order_by(col(Consent.effective_at), col(Consent.entry))).all())
