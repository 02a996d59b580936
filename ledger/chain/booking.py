"""What became of publications, and what was claimed: facts of a chain that are final, booked once.

Published money moves on to `in_flight`, claimed money to `paid`; what was revoked or abandoned is payable again. The
same call again returns what the first one made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from sqlmodel import Session, col, select

from ledger import holds, journal
from ledger.accounts import account_name
from ledger.bulk import add_rows
from ledger.chain import publications
from ledger.chain.checksum import checksummed
from ledger.chain.publications import ABANDONED, ACTIVATED, INTENDED, PUBLISHED, REVOKED, new_hold
from ledger.errors import ChainClaimError, IdempotencyConflictError, PublicationError
from ledger.held import remaining
from ledger.holds import POSTED, VOIDED, Change
from ledger.lines import Gathered, Line, credit, debit
from ledger.models import (
    Attempt,
    ChainClaim,
    Distributor,
    Hold,
    HoldChange,
    Leaf,
    Publication,
    PublicationEnd,
    Receipt,
)
from ledger.models.chain import ENDS
from ledger.pending import stated_change
from ledger.spool import Spool

PURPOSE = "claim"  # of the holds of what is published and not claimed yet
_AFTER = {  # what a publication must be, so that it can become something
    PUBLISHED: (INTENDED,),
    ACTIVATED: (PUBLISHED,),
    REVOKED: (INTENDED, PUBLISHED),
    ABANDONED: (INTENDED,),
}

_Waiting = tuple[str, str, int, int]  # a contributor, the address, the number of the hold, and what is left of it


def book_published(
    session: Session, publication: Publication, *, transaction: str, block_number: int, block_hash: str
) -> PublicationEnd:
    """Note that a publication's root is final on its chain: what it added is in flight until it is claimed.

    Raises `PublicationError` where it is over already, and what `journal.post` does.
    """
    end = PublicationEnd(
        entry=0,
        publication=publication.entry,
        change=PUBLISHED,
        transaction_hash=transaction,
        block_number=block_number,
        block_hash=block_hash,
    )
    return _end(session, publication, end)


def book_activated(session: Session, publication: Publication, *, block_number: int, block_hash: str) -> PublicationEnd:
    """Note that its root is active as of a final block: from then on nobody can revoke it. No money moves.

    Raises `PublicationError`.
    """
    end = PublicationEnd(
        entry=0,
        publication=publication.entry,
        change=ACTIVATED,
        block_number=block_number,
        block_hash=block_hash,
    )
    return _end(session, publication, end)


def book_revoked(
    session: Session, publication: Publication, *, transaction: str, block_number: int, block_hash: str
) -> PublicationEnd:
    """Note that its root was revoked before it was active: what it added is payable again.

    Raises as `book_published`.
    """
    end = PublicationEnd(
        entry=0,
        publication=publication.entry,
        change=REVOKED,
        transaction_hash=transaction,
        block_number=block_number,
        block_hash=block_hash,
    )
    return _end(session, publication, end)


def book_abandoned(session: Session, publication: Publication, reason: str) -> PublicationEnd:
    """Note that a publication never reached its chain and never can: what it was to add is payable again.

    That it cannot is for the caller to prove. Raises as `book_published`.
    """
    return _end(session, publication, PublicationEnd(entry=0, publication=publication.entry, change=ABANDONED), reason)


def book_claim(
    session: Session,
    distributor: Distributor,
    *,
    transaction: str,
    log_index: int,
    block_number: int,
    block_hash: str,
    address: str,
    to: str,
    amount: int,
    cumulative: int,
) -> ChainClaim:
    """Note that a distributor paid what was published for an address, to it or where its owner said; minor units.

    Claims of an address are booked in the order of the chain. Raises `AddressError`, `ChainClaimError` for more than
    was published or with an earlier claim missing, and what `journal.post` does.
    """
    row = ChainClaim(
        entry=0,
        distributor=distributor.id,
        transaction_hash=transaction,
        log_index=log_index,
        block_number=block_number,
        block_hash=block_hash,
        address=checksummed(address),
        recipient=checksummed(to),
        amount=amount,
        cumulative=cumulative,
    )
    key = claim_key(distributor, transaction, log_index)
    same = select(ChainClaim).where(
        ChainClaim.distributor == distributor.id,
        ChainClaim.transaction_hash == transaction,
        ChainClaim.log_index == log_index,
    )
    earlier = session.exec(same).first()
    if earlier is not None:
        if claim_payload(distributor, earlier) != claim_payload(distributor, row):
            raise IdempotencyConflictError(key, earlier.entry)
        return earlier
    contributor, steps = _claimed(session, distributor, row)
    in_flight, paid = account_name("in_flight", contributor), account_name("paid", contributor)
    stating = [stated_change(step, in_flight, distributor.asset) for step in steps]
    row.entry = journal.post(
        session,
        kind=ChainClaim.entry_kind,
        subject=contributor,
        key=key,
        payload={**claim_payload(distributor, row), "hold_changes": stating},
        lines=[debit(in_flight, distributor.asset, amount), credit(paid, distributor.asset, amount)],
        reference=transaction,
    ).entry.sequence
    _add_changes(session, row.entry, ((step.hold, step.change, step.amount or 0) for step in steps))
    session.add(row)
    session.flush()
    return row


# What entries say


def end_payload(session: Session, end: PublicationEnd) -> dict[str, Any]:
    """What the entry of an end says of all together: also every transaction that was made for it, and what was seen."""
    return {
        "publication": end.publication,
        "transaction": end.transaction_hash,
        "block_number": end.block_number,
        "block_hash": end.block_hash,
        "attempts": [_attempt(session, attempt) for attempt in _attempts(session, end.publication)],
    }


def end_key(change: str, publication: int) -> str:
    """The key of its entry."""
    return f"{ENDS[change]}:{publication}"


def claim_key(distributor: Distributor, transaction: str, log_index: int) -> str:
    """The key of a claim's entry: chain, distributor, transaction and log."""
    return f"{ChainClaim.entry_kind}:{distributor.subject()}:{transaction}:{log_index}"


def claim_payload(distributor: Distributor, row: ChainClaim) -> dict[str, Any]:
    """What a claim's entry says, beside what is taken from holds."""
    return {
        "distributor": distributor.id,
        "asset": distributor.asset,
        "transaction": row.transaction_hash,
        "log_index": row.log_index,
        "block_number": row.block_number,
        "block_hash": row.block_hash,
        "address": row.address,
        "recipient": row.recipient,
        "amount": str(row.amount),
        "cumulative": str(row.cumulative),
    }


# Ends


def _end(session: Session, publication: Publication, end: PublicationEnd, reason: str | None = None) -> PublicationEnd:
    made = publications.ends(session, publication)
    for earlier in made:
        if earlier.change == end.change:
            facts = ("transaction_hash", "block_number", "block_hash")
            if any(getattr(earlier, name) != getattr(end, name) for name in facts):
                raise IdempotencyConflictError(end_key(end.change, publication.entry), earlier.entry)
            return earlier
    now = made[-1].change if made else INTENDED
    if now not in _AFTER[end.change]:
        raise PublicationError(f"publication {publication.entry}", f"it is {now}, and cannot be {end.change}")
    distributor = session.get_one(Distributor, publication.distributor)
    waiting: Spool[_Waiting] = Spool(() if end.change == ACTIVATED else _waiting(session, publication, now))
    end.entry = journal.post(
        session,
        kind=ENDS[end.change],
        subject=distributor.subject(),
        key=end_key(end.change, publication.entry),
        payload=end_payload(session, end),
        parts=_parts(waiting, end.change, now, distributor.asset),
        lines=Gathered(lambda: _lines(waiting, end.change, now, distributor.asset)),
        reason=reason,
        reference=end.transaction_hash,
    ).entry.sequence
    if end.change == PUBLISHED:
        holds.record(session, end.entry, (_claimable(one, distributor.asset) for one in waiting))
    change = POSTED if end.change == PUBLISHED else VOIDED
    _add_changes(session, end.entry, ((hold, change, left) for _, _, hold, left in waiting))
    session.add(end)
    session.flush()
    return end


def _waiting(session: Session, publication: Publication, now: str) -> Iterator[_Waiting]:
    """What waits of a publication, by the number of its hold, which is by contributor."""
    made_by = publication.entry
    if now == PUBLISHED:
        made_by = next(end.entry for end in publications.ends(session, publication) if end.change == PUBLISHED)
    columns: Any = (Hold.id, Hold.amount, Leaf.contributor, Leaf.address)
    lying = col(Hold.account) == f"{_KINDS[now]}:" + col(Leaf.contributor)
    query = select(*columns).join(Hold, lying).where(Leaf.publication == publication.entry, Hold.entry == made_by)
    for hold, amount, contributor, address in session.exec(
        query.order_by(col(Hold.id)).execution_options(yield_per=1000)
    ):
        yield contributor, address, hold, amount


def _parts(waiting: Spool[_Waiting], change: str, now: str, asset: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """What its entry says of each contributor."""
    for one in waiting:
        contributor, address, hold, left = one
        account = account_name(_KINDS[now], contributor)
        said: dict[str, Any] = {"address": address, "amount": str(left)}
        if change == PUBLISHED:
            to = [(account_name("in_flight", contributor), left)]
            step = stated_change(Change(hold, POSTED, left), account, asset, to)
            said["holds"] = [holds.stated(_claimable(one, asset))]
        else:
            step = stated_change(Change(hold, VOIDED, left), account, asset)
        yield contributor, said | {"hold_changes": [step]}


def _lines(waiting: Spool[_Waiting], change: str, now: str, asset: str) -> Iterator[Line]:
    to = "in_flight" if change == PUBLISHED else "payable"
    for contributor, _, _, left in waiting:
        yield debit(account_name(_KINDS[now], contributor), asset, left)
        yield credit(account_name(to, contributor), asset, left)


def _claimable(one: _Waiting, asset: str) -> holds.NewHold:
    contributor, _, _, left = one
    return new_hold(PURPOSE, _KINDS[PUBLISHED], contributor, asset, left)


_KINDS = {INTENDED: "publishing", PUBLISHED: "in_flight"}  # of the accounts in which a publication's money lies


def _attempts(session: Session, publication: int) -> list[Attempt]:
    return list(session.exec(select(Attempt).where(Attempt.publication == publication).order_by(col(Attempt.id))))


def _attempt(session: Session, attempt: Attempt) -> dict[str, Any]:
    """A transaction and what was seen of it, as an entry commits to it. Amounts are in wei a gas."""
    receipts = session.exec(select(Receipt).where(Receipt.attempt == attempt.id).order_by(col(Receipt.id)))
    return {
        "id": attempt.id,
        "purpose": attempt.purpose,
        "chain_id": attempt.chain_id,
        "sender": attempt.sender,
        "nonce": attempt.nonce,
        "raw": hashlib.sha256(attempt.raw).hexdigest(),
        "hash": attempt.hash,
        "gas": attempt.gas,
        "max_fee": str(attempt.max_fee),
        "priority_fee": str(attempt.priority_fee),
        "saved_at": attempt.saved_at,
        "receipts": [
            {
                "id": receipt.id,
                "block_number": receipt.block_number,
                "block_hash": receipt.block_hash,
                "succeeded": receipt.succeeded,
                "seen_at": receipt.seen_at,
            }
            for receipt in receipts
        ],
    }


# Claims


def _claimed(session: Session, distributor: Distributor, row: ChainClaim) -> tuple[str, list[Change]]:
    """Whose claim it is, and what it takes from the holds of what was published for the address, the oldest first."""

    def refused(reason: str) -> ChainClaimError:
        return ChainClaimError(row.transaction_hash, row.log_index, reason)

    owners = select(Leaf.contributor).join(Publication, col(Publication.entry) == Leaf.publication)
    owner = session.exec(
        owners.where(Leaf.address == row.address, Publication.distributor == distributor.id).limit(1)
    ).first()
    if owner is None:
        raise refused(f"this ledger published nothing for {row.address}; run `ghostledger chain reconcile`")
    before = select(ChainClaim.amount).where(
        ChainClaim.distributor == distributor.id, ChainClaim.address == row.address
    )
    claimed = sum(session.exec(before))
    if claimed + row.amount != row.cumulative:
        raise refused(
            f"{row.address} had claimed {claimed} before, and {row.amount} more is not {row.cumulative}; "
            "book the claims before it first"
        )
    left, steps = row.amount, []
    published = _published_for(session, distributor, row.address)
    for hold, there in sorted(remaining(session, published).items()):
        if left and there:
            steps.append(Change(hold, POSTED, min(left, there)))
            left -= min(left, there)
    if left or not row.amount > 0:
        raise refused(
            f"{row.amount} is {left} more than was published for {row.address} and is not claimed yet; "
            "run `ghostledger chain reconcile`"
        )
    return owner, steps


def _published_for(session: Session, distributor: Distributor, address: str) -> list[int]:
    """The holds of what was published for an address, by number."""
    lying = col(Hold.account) == f"{_KINDS[PUBLISHED]}:" + col(Leaf.contributor)
    query = (
        select(Hold.id)
        .select_from(Leaf)
        .join(Publication, col(Publication.entry) == Leaf.publication)
        .join(PublicationEnd, col(PublicationEnd.publication) == Publication.entry)
        .join(Hold, lying & (col(Hold.entry) == PublicationEnd.entry))
        .where(
            Leaf.address == address,
            Publication.distributor == distributor.id,
            PublicationEnd.change == PUBLISHED,
        )
    )
    return list(session.exec(query))


def _add_changes(session: Session, entry: int, changes: Iterator[tuple[int, str, int]]) -> None:
    names = ("entry", "hold", "change", "amount")
    rows = (dict(zip(names, (entry, *one), strict=True)) for one in changes)
    add_rows(session.connection(), HoldChange, rows)
