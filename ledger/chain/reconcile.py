"""The ledger against a chain's logs and state, both ways, up to the last final block: every difference is named."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlmodel import Session, col, select

from ledger.chain import publications
from ledger.chain.contract import Claimed, DistributorContract, Event, Revoked, Submitted
from ledger.chain.distributors import distributor as distributor_of
from ledger.chain.evidence import View
from ledger.chain.node import Node
from ledger.chain.preconditions import assert_same
from ledger.chain.token import Token
from ledger.database import Ledger
from ledger.models import Attempt, ChainClaim, Distributor, Publication, PublicationEnd
from ledger.publication_entries import ABANDONED, ACTIVATED, INTENDED, PUBLISHED, REVOKED

NOTHING = "nothing"


@dataclass(frozen=True)
class Difference:
    """Something that the ledger and the chain do not say alike: its kind, what it is about, and what each says."""

    kind: str
    what: str
    ledger: str
    chain: str


@dataclass(frozen=True)
class Reconciliation:
    """What was compared, up to and with the block `last`, and how the two differ.

    `remarks` are what the two agree on and somebody should know: what is on its way, and nonces that others used.
    """

    distributor: str
    last: int
    checked: dict[str, int]
    differences: list[Difference] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing differs."""
        return not self.differences


@dataclass
class _Books:
    """What the ledger says of a distributor."""

    publications: list[Publication]
    ends: dict[int, list[PublicationEnd]]
    claims: list[ChainClaim]
    attempts: list[Attempt]

    def state(self, publication: Publication) -> str:
        found = self.ends.get(publication.entry)
        return found[-1].change if found else INTENDED

    def end(self, publication: Publication, change: str) -> PublicationEnd | None:
        return next((end for end in self.ends.get(publication.entry, []) if end.change == change), None)

    def of_root(self, root_id: int) -> Publication | None:
        return next((made for made in reversed(self.publications) if made.root_id == root_id), None)


def reconcile(books: Ledger, node: Node, distributor_id: int | str | None = None) -> Reconciliation:
    """Compare a distributor on its chain with what was booked of it. Nothing is written.

    What is final and not booked yet differs too: `watch` books it. Raises `WrongChainError`, `WrongContractError`,
    `UnlikeDistributorError` and `NodeError`s.
    """
    with books.reading() as session:
        distributor = distributor_of(session, distributor_id)
        said = _said(session, distributor)
    contract = DistributorContract(node, distributor.chain_id, distributor.address)
    assert_same(contract, distributor)
    view = View(node, distributor.confirmations)
    last = view.final
    found: list[Event] = list(contract.events(distributor.first_block, last)) if last >= distributor.first_block else []
    checked = {"roots": len(said.publications), "claims": len(said.claims), "events": len(found)}
    result = Reconciliation(distributor.subject(), last, checked)
    if last < distributor.first_block:
        result.remarks.append(f"the distributor is younger than {distributor.confirmations} blocks")
        return result
    result.differences.extend(_roots(said, contract, found, last))
    result.differences.extend(_claims(said, contract, found, last))
    result.differences.extend(_totals(said, contract, distributor, last))
    for differs, one in _nonces(said, view):
        if differs:
            result.differences.append(one)
        else:
            result.remarks.append(f"{one.what}: {one.ledger}, {one.chain}")
    return result


def _said(session: Session, distributor: Distributor) -> _Books:
    made = publications.publications(session, distributor)
    ends: dict[int, list[PublicationEnd]] = defaultdict(list)
    of_these = select(PublicationEnd).join(Publication, col(Publication.entry) == col(PublicationEnd.publication))
    ordered = of_these.where(Publication.distributor == distributor.id).order_by(col(PublicationEnd.entry))
    for end in session.exec(ordered):
        ends[end.publication].append(end)
    claims = select(ChainClaim).where(ChainClaim.distributor == distributor.id).order_by(col(ChainClaim.entry))
    attempts = select(Attempt).join(Publication, col(Publication.entry) == col(Attempt.publication))
    mine = attempts.where(Publication.distributor == distributor.id).order_by(col(Attempt.id))
    return _Books(made, ends, list(session.exec(claims)), list(session.exec(mine)))


# Roots


def _roots(said: _Books, contract: DistributorContract, found: list[Event], last: int) -> Iterator[Difference]:
    submitted = {event.id: event for event in found if isinstance(event, Submitted)}
    revoked = {event.id: event for event in found if isinstance(event, Revoked)}
    for id in range(1, contract.last_id(last) + 1):
        if id not in submitted:
            yield Difference("logs", f"root {id}", NOTHING, "is in its state, and not in its logs")
    for id, event in submitted.items():
        publication = said.of_root(id)
        if publication is None:
            yield Difference("unknown root", f"root {id}", NOTHING, f"{event.root} for {event.total} in all")
            continue
        yield from _submission(said, publication, event)
        state = contract.root_of(id, last)
        if (state.root, state.total, state.metadata_hash) != (event.root, event.total, event.metadata_hash):
            yield Difference("logs", f"root {id}", NOTHING, f"{state.root} in its state, and {event.root} in its logs")
        if state.revoked != (id in revoked):
            yield Difference("logs", f"root {id}", NOTHING, "is revoked in only one of its state and its logs")
    for publication in said.publications:
        yield from _ends(said, publication, submitted.get(publication.root_id), revoked.get(publication.root_id))


def _submission(said: _Books, publication: Publication, event: Submitted) -> Iterator[Difference]:
    what = f"root {event.id}"
    if publication.root != event.root:
        yield Difference("root", what, publication.root, event.root)
    if publication.total != event.total:
        yield Difference("total", what, str(publication.total), str(event.total))
    if publication.metadata_hash != event.metadata_hash:
        yield Difference("metadata hash", what, publication.metadata_hash, event.metadata_hash)
    state = said.state(publication)
    if state in (INTENDED, ABANDONED):
        yield Difference("published", what, state, f"submitted in block {event.block_number}")
    end = said.end(publication, PUBLISHED)
    if end is not None and (end.transaction_hash, end.block_hash) != (event.transaction, event.block_hash):
        there = f"by {event.transaction} in block {event.block_hash}"
        yield Difference("published", what, f"by {end.transaction_hash} in block {end.block_hash}", there)


def _ends(
    said: _Books, publication: Publication, submitted: Submitted | None, revoked: Revoked | None
) -> Iterator[Difference]:
    what = f"root {publication.root_id}"
    if said.end(publication, PUBLISHED) is not None and submitted is None:
        yield Difference("published", what, said.state(publication), NOTHING)
    mine = submitted is not None and submitted.root == publication.root
    end = said.end(publication, REVOKED)
    if end is not None and revoked is None:
        yield Difference("revoked", what, "revoked", "not revoked")
    if end is None and revoked is not None and mine and said.of_root(publication.root_id) is publication:
        yield Difference("revoked", what, said.state(publication), f"revoked in block {revoked.block_number}")


# Claims


def _claims(said: _Books, contract: DistributorContract, found: list[Event], last: int) -> Iterator[Difference]:
    logged = {(event.transaction, event.index): event for event in found if isinstance(event, Claimed)}
    booked = {(claim.transaction_hash, claim.log_index): claim for claim in said.claims}
    for key, event in logged.items():
        claim, what = booked.get(key), f"claim of {event.account} in log {event.index} of {event.transaction}"
        there = f"{event.amount} of {event.cumulative} to {event.to} in block {event.block_hash}"
        if claim is None:
            yield Difference("claim", what, NOTHING, there)
            continue
        here = f"{claim.amount} of {claim.cumulative} to {claim.recipient} in block {claim.block_hash}"
        if here != there or claim.address != event.account:
            yield Difference("claim", what, f"{claim.address}: {here}", f"{event.account}: {there}")
    for key, claim in booked.items():
        if key not in logged:
            what = f"claim of {claim.address} in log {claim.log_index} of {claim.transaction_hash}"
            yield Difference("claim", what, f"{claim.amount} of {claim.cumulative}", NOTHING)
    by_account: dict[str, int] = defaultdict(int)
    for claim in said.claims:
        by_account[claim.address] += claim.amount
    for account in sorted({*by_account, *(event.account for event in logged.values())}):
        there_now = contract.claimed(account, last)
        if by_account[account] != there_now:
            yield Difference("claimed", account, str(by_account[account]), str(there_now))


# Totals and nonces


def _totals(said: _Books, contract: DistributorContract, distributor: Distributor, last: int) -> Iterator[Difference]:
    live = (PUBLISHED, ACTIVATED)
    promised = next((made.total for made in reversed(said.publications) if said.state(made) in live), 0)
    claimed = sum(claim.amount for claim in said.claims)
    there, paid = contract.promised(last), contract.total_claimed(last)
    if promised != there:
        yield Difference("promised", "by all roots in force", str(promised), str(there))
    if claimed != paid:
        yield Difference("claimed", "by all accounts", str(claimed), str(paid))
    balance = Token(contract.node, distributor.token).balance_of(distributor.address, last)
    owed = max(promised, there) - min(claimed, paid)
    if balance < owed:
        yield Difference("balance", f"the token of {distributor.address}", f"{owed} are owed", f"{balance} are there")


def _nonces(said: _Books, view: View) -> Iterator[tuple[bool, Difference]]:
    """What became of the nonces that attempts were signed with; whether it is a difference, or only to be known."""
    by_nonce: dict[tuple[str, int], list[Attempt]] = defaultdict(list)
    for attempt in said.attempts:
        by_nonce[attempt.sender, attempt.nonce].append(attempt)
    counts = {sender: view.node.transaction_count(sender, view.final) for sender, _ in by_nonce}
    states = {made.entry: said.state(made) for made in said.publications}
    for (sender, nonce), tried in by_nonce.items():
        state = states[tried[-1].publication]
        what, here = f"nonce {nonce} of {sender}", f"signed for a root that is {state}"
        if nonce >= counts[sender]:
            # What is over needs no transaction, and one that comes after all is not what was booked.
            yield state == ABANDONED, Difference("nonce", what, here, "not used yet")
        elif not any(view.receipt(attempt.hash) for attempt in tried):
            yield state == INTENDED, Difference("nonce", what, here, "used by another transaction")
