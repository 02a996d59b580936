"""What the chain says happened to a distributor, booked once it is final: roots submitted and revoked, claims paid.

Events are booked in the order of the chain, from the block of the last one that was booked on, so that nothing before
it can be missing. What the ledger did not publish is named, and never booked.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlmodel import Session, col, func, select

from ledger.chain import booking, publications
from ledger.chain.contract import Claimed, DistributorContract, Event, OnChainRoot, Revoked, Submitted
from ledger.chain.distributors import distributor as distributor_of
from ledger.chain.evidence import View
from ledger.chain.node import Node
from ledger.chain.preconditions import assert_same
from ledger.database import Ledger
from ledger.errors.chain import LyingNodeError
from ledger.errors.publications import ChainClaimError
from ledger.models import ChainClaim, Distributor, Leaf, Publication, PublicationEnd
from ledger.publication_entries import ABANDONED, ACTIVATED, INTENDED, PUBLISHED, REVOKED


@dataclass(frozen=True)
class Stray:
    """An event that the ledger cannot have caused, and why."""

    event: Event
    why: str


@dataclass
class Seen:
    """What was looked at, the blocks `first` to `last`, and what was booked of it now: ids of roots, and claims."""

    first: int
    last: int
    published: list[int] = field(default_factory=list)
    activated: list[int] = field(default_factory=list)
    revoked: list[int] = field(default_factory=list)
    claims: int = 0
    strays: list[Stray] = field(default_factory=list)


def watch(
    books: Ledger, node: Node, distributor_id: int | str | None, *, view: View | None = None, since: int | None = None
) -> Seen:
    """Book what is final and was not booked yet. `since` is the first block to look at, if not the last one booked.

    Whoever gives a `view` has looked whether the contract is the registered one. Doing it again books nothing twice.
    Raises `WrongChainError`, `WrongContractError`, `UnlikeDistributorError`, other
    `NodeError`s, and `LyingNodeError` where the node contradicts itself: what was booked until then stays.
    """
    with books.reading() as session:
        distributor = distributor_of(session, distributor_id)
        first = last_booked(session, distributor) if since is None else since
    contract = DistributorContract(node, distributor.chain_id, distributor.address)
    if view is None:
        assert_same(contract, distributor)
    look = view or View(node, distributor.confirmations)
    seen = Seen(first, look.final)
    if seen.last < first:
        return seen
    for event in contract.events(first, seen.last):
        _Watch(books, contract, distributor, look, seen).take(event)
    _activate(books, contract, distributor, look, seen)
    return seen


def last_booked(session: Session, distributor: Distributor) -> int:
    """The block of the last event of a distributor that was booked, or the one in which it was made."""
    ends = (
        select(func.max(PublicationEnd.block_number))
        .join(Publication, col(Publication.entry) == col(PublicationEnd.publication))
        .where(Publication.distributor == distributor.id, col(PublicationEnd.change).in_((PUBLISHED, REVOKED)))
    )
    claims = select(func.max(ChainClaim.block_number)).where(ChainClaim.distributor == distributor.id)
    return max(distributor.first_block, *(session.exec(query).one() or 0 for query in (ends, claims)))


@dataclass
class _Watch:
    books: Ledger
    contract: DistributorContract
    distributor: Distributor
    view: View
    seen: Seen

    def take(self, event: Event) -> None:
        match event:
            case Submitted():
                self._submitted(event)
            case Revoked():
                self._revoked(event)
            case Claimed():
                self._claimed(event)

    def _submitted(self, event: Submitted) -> None:
        publication = self._publication(event.id)
        why = unlike(publication, event)
        if publication is None or why:
            self.seen.strays.append(Stray(event, why))
            return
        state = self._state(publication)
        if state == ABANDONED:
            self.seen.strays.append(Stray(event, f"root {event.id} was abandoned"))
        if state != INTENDED:
            return
        self.view.assert_happened(self.contract, event)
        if not stands(self.contract.root_of(event.id), publication):
            raise LyingNodeError("eth_call", f"root {event.id} is not there, and its logs say that it is")
        self.books.transact(
            lambda session: booking.book_published(
                session,
                publication,
                transaction=event.transaction,
                block_number=event.block_number,
                block_hash=event.block_hash,
            )
        )
        self.seen.published.append(event.id)

    def _revoked(self, event: Revoked) -> None:
        publication = self._publication(event.id)
        if publication is None or publication.root != event.root:
            self.seen.strays.append(Stray(event, f"root {event.id} was not published by this ledger"))
            return
        if self._state(publication) in (REVOKED, ABANDONED):
            return
        self.view.assert_happened(self.contract, event)
        if not self.contract.root_of(event.id).revoked:
            raise LyingNodeError("eth_call", f"root {event.id} is not revoked, and its logs say that it is")
        self.books.transact(
            lambda session: booking.book_revoked(
                session,
                publication,
                transaction=event.transaction,
                block_number=event.block_number,
                block_hash=event.block_hash,
            )
        )
        self.seen.revoked.append(event.id)

    def _claimed(self, event: Claimed) -> None:
        with self.books.reading() as session:
            if is_booked(session, self.distributor, event):
                return
            known = is_owed(session, self.distributor, event)
        if not known:
            self.seen.strays.append(Stray(event, f"{event.account} was never promised {event.cumulative} in all"))
            return
        self.view.assert_happened(self.contract, event)
        if self.contract.claimed(event.account) < event.cumulative:
            raise LyingNodeError("eth_call", f"{event.account} has claimed less than its logs say")
        try:
            self.books.transact(lambda session: self._book_claim(session, event))
        except ChainClaimError as error:  # as after a claim that nothing was published for
            self.seen.strays.append(Stray(event, error.reason))
        else:
            self.seen.claims += 1

    def _book_claim(self, session: Session, event: Claimed) -> None:
        booking.book_claim(
            session,
            self.distributor,
            transaction=event.transaction,
            log_index=event.index,
            block_number=event.block_number,
            block_hash=event.block_hash,
            address=event.account,
            to=event.to,
            amount=event.amount,
            cumulative=event.cumulative,
        )

    def _publication(self, root_id: int) -> Publication | None:
        with self.books.reading() as session:
            return by_root_id(session, self.distributor, root_id)

    def _state(self, publication: Publication) -> str:
        with self.books.reading() as session:
            return publications.state(session, publication)


def _activate(books: Ledger, contract: DistributorContract, distributor: Distributor, view: View, seen: Seen) -> None:
    """Book that a root's waiting time has passed in a final block: from then on nobody can revoke it."""
    with books.reading() as session:
        last = publications.latest(session, distributor)
        if last is None or publications.state(session, last) != PUBLISHED:
            return
    root = contract.root_of(last.root_id)
    final = view.block(seen.last)
    if root.revoked or root.root != last.root or final is None or final.timestamp < root.activates_at:
        return

    def book(session: Session) -> None:
        if publications.state(session, last) == PUBLISHED:  # another watcher may have looked at another block
            booking.book_activated(session, last, block_number=final.number, block_hash=final.hash)

    books.transact(book)
    seen.activated.append(last.root_id)


def by_root_id(session: Session, distributor: Distributor, root_id: int) -> Publication | None:
    """The newest publication that was to have an id: an earlier one of the same id was abandoned."""
    query = select(Publication).where(Publication.distributor == distributor.id, Publication.root_id == root_id)
    return session.exec(query.order_by(col(Publication.entry).desc()).limit(1)).first()


def is_booked(session: Session, distributor: Distributor, event: Claimed) -> bool:
    """Whether a claim was booked, under the transaction and the log that it is known by."""
    query = select(ChainClaim.entry).where(
        ChainClaim.distributor == distributor.id,
        ChainClaim.transaction_hash == event.transaction,
        ChainClaim.log_index == event.index,
    )
    return session.exec(query).first() is not None


def is_owed(session: Session, distributor: Distributor, event: Claimed) -> bool:
    """Whether a publication that reached the chain, and was not revoked, promised an account what it claimed."""
    query = (
        select(Publication)
        .join(Leaf, col(Leaf.publication) == col(Publication.entry))
        .where(Publication.distributor == distributor.id, Leaf.address == event.account)
        .where(Leaf.cumulative == event.cumulative)
    )
    return any(publications.state(session, one) in (PUBLISHED, ACTIVATED) for one in session.exec(query))


def unlike(publication: Publication | None, event: Submitted) -> str:
    """How a submitted root differs from what the ledger was to publish under its id; empty where it does not."""
    if publication is None:
        return f"root {event.id} was not published by this ledger"
    pairs = {
        "root": (publication.root, event.root),
        "total": (publication.total, event.total),
        "metadata hash": (publication.metadata_hash, event.metadata_hash),
    }
    wrong = [f"its {what} is {found}, not {meant}" for what, (meant, found) in pairs.items() if meant != found]
    return f"root {event.id}: " + ", ".join(wrong) if wrong else ""


def stands(root: OnChainRoot, publication: Publication) -> bool:
    """Whether a root on the chain, revoked or not, is a publication's."""
    found = (root.root, root.total, root.metadata_hash)
    return found == (publication.root, publication.total, publication.metadata_hash)
