"""Signed transactions, saved before they are sent, and the receipts that were seen of them. Nothing here asks a node.

A sender's nonces are shared by all distributors on a chain. Who saves is the ledger's one writer, so that no nonce is
given twice: a draft is refused where somebody else saved since what it was made from was read.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlmodel import Session, col, func, select

from ledger.chain.fees import Fees
from ledger.chain.node import Receipt as Seen
from ledger.instants import format_instant
from ledger.models import Attempt, PublicationEnd, Receipt

SUBMIT, CANCEL = "submit", "cancel"


@dataclass(frozen=True)
class Draft:
    """A signed transaction that is not saved yet: `raw` is what is to be sent, `hash` its name, `gas` its limit."""

    publication: int
    purpose: str
    chain_id: int
    sender: str
    nonce: int
    raw: bytes
    hash: str
    gas: int
    fees: Fees


def of_publication(session: Session, publication: int) -> list[Attempt]:
    """A publication's attempts in the order in which they were saved."""
    return list(session.exec(select(Attempt).where(Attempt.publication == publication).order_by(col(Attempt.id))))


def newest(session: Session, chain_id: int, sender: str, first: int = 0) -> dict[int, Attempt]:
    """The attempt that was saved last for each nonce of a sender, from the nonce `first` on."""
    query = select(Attempt).where(Attempt.chain_id == chain_id, Attempt.sender == sender, Attempt.nonce >= first)
    return {attempt.nonce: attempt for attempt in session.exec(query.order_by(col(Attempt.id)))}


def live(session: Session, chain_id: int, sender: str, first: int = 0) -> dict[int, Attempt]:
    """The same of publications that nothing has become of: what is over is not to be sent again."""
    found = newest(session, chain_id, sender, first)
    return {nonce: attempt for nonce, attempt in found.items() if not is_over(session, attempt.publication)}


def free_nonce(count: int, taken: Collection[int]) -> int:
    """The first nonce from the chain's `count` on that is not taken: it leaves no gap, and fills one."""
    nonce = count
    while nonce in taken:
        nonce += 1
    return nonce


def is_over(session: Session, publication: int) -> bool:
    """Whether something became of a publication: its entry then commits to what was sent and seen for it."""
    query = select(PublicationEnd.entry).where(PublicationEnd.publication == publication)
    return session.exec(query).first() is not None


def save(session: Session, draft: Draft, *, beside: Sequence[int], instead_of: int | None) -> Attempt | None:
    """Save an attempt, unless somebody else was faster: then None, and the draft must never be sent.

    `beside` are the attempts that its publication had when the draft was made, and `instead_of` is the one that had
    its nonce, if any.
    """
    if is_over(session, draft.publication):
        return None
    if [attempt.id for attempt in of_publication(session, draft.publication)] != list(beside):
        return None
    at_nonce = newest(session, draft.chain_id, draft.sender, draft.nonce).get(draft.nonce)
    if (at_nonce.id if at_nonce else None) != instead_of:
        return None
    saved = Attempt(
        id=(session.exec(select(func.max(Attempt.id))).one() or 0) + 1,
        publication=draft.publication,
        purpose=draft.purpose,
        chain_id=draft.chain_id,
        sender=draft.sender,
        nonce=draft.nonce,
        raw=draft.raw,
        hash=draft.hash,
        gas=draft.gas,
        max_fee=draft.fees.max_fee,
        priority_fee=draft.fees.priority_fee,
        saved_at=format_instant(session.info["clock"]()),
    )
    session.add(saved)
    session.flush()
    return saved


def is_news(session: Session, attempt: int, seen: Seen) -> bool:
    """Whether an attempt was not seen in this block before."""
    query = select(Receipt.id).where(Receipt.attempt == attempt, Receipt.block_hash == seen.block_hash)
    return session.exec(query).first() is None


def note(session: Session, attempt: Attempt, seen: Seen) -> None:
    """Save that an attempt was seen in a block. In another one later, the chain was reorganised meanwhile."""
    if is_over(session, attempt.publication) or not is_news(session, attempt.id, seen):
        return
    session.add(
        Receipt(
            id=(session.exec(select(func.max(Receipt.id))).one() or 0) + 1,
            attempt=attempt.id,
            block_number=seen.block_number,
            block_hash=seen.block_hash,
            succeeded=seen.succeeded,
            seen_at=format_instant(session.info["clock"]()),
        )
    )
    session.flush()
