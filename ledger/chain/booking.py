"""What became of publications, and what was claimed: facts of a chain that are final, booked once.

Published money moves on to `in_flight`, claimed money to `paid`; what was revoked or abandoned is payable again. The
same call again returns what the first one made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sqlmodel import Session, select

from ledger import holds, journal
from ledger import publication_entries as entries
from ledger.batches import batches
from ledger.bulk import add_rows
from ledger.chain import publications
from ledger.chain.checksum import checksummed
from ledger.errors import ChainClaimError, IdempotencyConflictError, PublicationError
from ledger.held import remaining
from ledger.holds import POSTED, VOIDED, Change
from ledger.lines import Gathered
from ledger.models import ChainClaim, Distributor, HoldChange, Publication, PublicationEnd
from ledger.models.chain import ENDS
from ledger.publication_entries import ABANDONED, ACTIVATED, AFTER, INTENDED, PUBLISHED, REVOKED, Waiting
from ledger.published import attempts_of, owner_of, published_for, waiting_of
from ledger.spool import Spool

_FACTS = ("transaction_hash", "block_number", "block_hash")
_BATCH = 400  # holds of one query


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
    same = select(ChainClaim).where(
        ChainClaim.distributor == distributor.id,
        ChainClaim.transaction_hash == transaction,
        ChainClaim.log_index == log_index,
    )
    earlier = session.exec(same).first()
    said = entries.claim_payload(distributor, row)
    if earlier is not None:
        if entries.claim_payload(distributor, earlier) != said:
            raise IdempotencyConflictError(entries.claim_key(distributor, row), earlier.entry)
        return earlier
    contributor, steps = _claimed(session, distributor, row)
    row.entry = journal.post(
        session,
        kind=ChainClaim.entry_kind,
        subject=contributor,
        key=entries.claim_key(distributor, row),
        payload={**said, "hold_changes": entries.claim_steps(steps, contributor, distributor.asset)},
        lines=entries.claim_lines(contributor, distributor.asset, amount),
        reference=transaction,
    ).entry.sequence
    _add_changes(session, row.entry, ((step.hold, step.change, step.amount or 0) for step in steps))
    session.add(row)
    session.flush()
    return row


# Ends


def _end(session: Session, publication: Publication, end: PublicationEnd, reason: str | None = None) -> PublicationEnd:
    made = publications.ends(session, publication)
    for earlier in made:
        if earlier.change == end.change:
            if any(getattr(earlier, name) != getattr(end, name) for name in _FACTS):
                raise IdempotencyConflictError(entries.end_key(end.change, publication.entry), earlier.entry)
            return earlier
    now = made[-1].change if made else INTENDED
    if now not in AFTER[end.change]:
        raise PublicationError(f"publication {publication.entry}", f"it is {now}, and cannot be {end.change}")
    distributor = session.get_one(Distributor, publication.distributor)
    asset = distributor.asset
    waiting = Spool(() if end.change == ACTIVATED else waiting_of(session, publication, made))
    _refuse_claimed(session, publication, waiting)
    end.entry = journal.post(
        session,
        kind=ENDS[end.change],
        subject=distributor.subject(),
        key=entries.end_key(end.change, publication.entry),
        payload=entries.end_payload(end, attempts_of(session, publication.entry)),
        parts=((one.contributor, entries.end_part(one, end.change, now, asset)) for one in waiting),
        lines=Gathered(lambda: entries.end_lines(waiting, end.change, now, asset)),
        reason=reason,
        reference=end.transaction_hash,
    ).entry.sequence
    if end.change == PUBLISHED:
        holds.record(session, end.entry, (entries.claim_hold(one, asset) for one in waiting))
    change = POSTED if end.change == PUBLISHED else VOIDED
    _add_changes(session, end.entry, ((one.hold, change, one.amount) for one in waiting))
    session.add(end)
    session.flush()
    return end


def _refuse_claimed(session: Session, publication: Publication, waiting: Iterable[Waiting]) -> None:
    for batch in batches(waiting, _BATCH):
        left = remaining(session, [one.hold for one in batch])
        for one in batch:
            if left[one.hold] != one.amount:
                raise PublicationError(
                    f"publication {publication.entry}",
                    f"only {left[one.hold]} of {one.amount} of {one.contributor!r} are left; run `ghostledger audit`",
                )


# Claims


def _claimed(session: Session, distributor: Distributor, row: ChainClaim) -> tuple[str, list[Change]]:
    """Whose claim it is, and what it takes from the holds of what was published for the address, the oldest first."""

    def refused(reason: str) -> ChainClaimError:
        return ChainClaimError(row.transaction_hash, row.log_index, reason)

    owner = owner_of(session, distributor, row.address)
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
    left, steps = row.amount, list[Change]()
    for hold, there in sorted(remaining(session, published_for(session, distributor, row.address)).items()):
        if left and there:
            steps.append(Change(hold, POSTED, min(left, there)))
            left -= min(left, there)
    if left or row.amount <= 0:
        raise refused(
            f"it is {left} more than was published for {row.address} and is not claimed yet; "
            "run `ghostledger chain reconcile`"
        )
    return owner, steps


def _add_changes(session: Session, entry: int, changes: Iterator[tuple[int, str, int]]) -> None:
    names = ("entry", "hold", "change", "amount")
    rows = (dict(zip(names, (entry, *one), strict=True)) for one in changes)
    add_rows(session.connection(), HoldChange, rows)
