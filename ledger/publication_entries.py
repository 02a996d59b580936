"""What entries say of publications on a chain: of what is intended, of what became of it, and of claims. Pure.

Heads say what is true of all; each contributor has a part, which also states the holds that were made or ended.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from ledger import holds
from ledger.accounts import account_name
from ledger.holds import POSTED, VOIDED, Change, NewHold
from ledger.lines import Line, credit, debit
from ledger.models import Attempt, ChainClaim, Distributor, Publication, PublicationEnd, Receipt
from ledger.models.chain import ENDS
from ledger.pending import stated_change

INTENDED, PUBLISHED, ACTIVATED, REVOKED, ABANDONED = "intended", "published", "activated", "revoked", "abandoned"
PUBLICATION, CLAIM = "publication", "claim"  # purposes of holds: until it is final, until it is claimed
AFTER = {  # what a publication must be, so that it can become something
    PUBLISHED: (INTENDED,),
    ACTIVATED: (PUBLISHED,),
    REVOKED: (INTENDED, PUBLISHED),
    ABANDONED: (INTENDED,),
}
LYING = {INTENDED: "publishing", PUBLISHED: "in_flight"}  # kinds of accounts in which a publication's money lies


class Waiting(NamedTuple):
    """What waits of a publication for a contributor: in which hold, and how much of it, minor units."""

    contributor: str
    address: str
    hold: int
    amount: int


class Due(NamedTuple):
    """What is new for a contributor at an address, and all that it then comes to there, minor units."""

    contributor: str
    address: str
    amount: int
    cumulative: int


# Intended


def publication_key(distributor: int, root_id: int, attempt: int) -> str:
    """The key of an intended publication; attempts are counted from 1, each after one that was abandoned."""
    return f"{Publication.entry_kind}:{distributor}:{root_id}:{attempt}"


def publication_payload(distributor: Distributor, made: Publication, as_of: str) -> dict[str, Any]:
    """What it says of all together. `as_of` is the instant at which contributors' standing and addresses count."""
    return {
        "distributor": distributor.id,
        "chain_id": distributor.chain_id,
        "address": distributor.address,
        "asset": distributor.asset,
        "root_id": made.root_id,
        "root": made.root,
        "total": str(made.total),
        "metadata_hash": made.metadata_hash,
        "log_size": made.log_size,
        "as_of": as_of,
    }


def publication_part(one: Due, asset: str) -> dict[str, Any]:
    """What it says of one contributor."""
    return {
        "address": one.address,
        "amount": str(one.amount),
        "cumulative": str(one.cumulative),
        "holds": [holds.stated(publication_hold(one, asset))],
    }


def publication_hold(one: Due, asset: str) -> NewHold:
    """The hold that it makes of a contributor's."""
    return _hold(PUBLICATION, INTENDED, one.contributor, asset, one.amount)


def publication_lines(due: Iterable[Due], asset: str) -> Iterator[Line]:
    """Its lines: from payable to publishing."""
    return (line for one in due for line in publication_hold(one, asset).lines)


# Ended


def end_key(change: str, publication: int) -> str:
    """The key of the entry that says what became of a publication."""
    return f"{ENDS[change]}:{publication}"


def end_payload(end: PublicationEnd, attempts: Iterable[tuple[Attempt, Iterable[Receipt]]]) -> dict[str, Any]:
    """What it says of all together: also every transaction that was made for it, and where each was seen."""
    return {
        "publication": end.publication,
        "transaction": end.transaction_hash,
        "block_number": end.block_number,
        "block_hash": end.block_hash,
        "attempts": [stated_attempt(attempt, receipts) for attempt, receipts in attempts],
    }


def end_part(one: Waiting, change: str, now: str, asset: str) -> dict[str, Any]:
    """What it says of one contributor, whose money lay where it does while a publication is what it was until `now`."""
    account = account_name(LYING[now], one.contributor)
    said: dict[str, Any] = {"address": one.address, "amount": str(one.amount)}
    if change == PUBLISHED:
        step, to = Change(one.hold, POSTED, one.amount), [(account_name(LYING[PUBLISHED], one.contributor), one.amount)]
        said["holds"] = [holds.stated(claim_hold(one, asset))]
        return said | {"hold_changes": [stated_change(step, account, asset, to)]}
    return said | {"hold_changes": [stated_change(Change(one.hold, VOIDED, one.amount), account, asset)]}


def claim_hold(one: Waiting, asset: str) -> NewHold:
    """The hold that is made of a contributor's when it is published."""
    return _hold(CLAIM, PUBLISHED, one.contributor, asset, one.amount)


def end_lines(waiting: Iterable[Waiting], change: str, now: str, asset: str) -> Iterator[Line]:
    """Its lines: on to in flight, or back to payable."""
    to = LYING[PUBLISHED] if change == PUBLISHED else "payable"
    for one in waiting:
        yield debit(account_name(LYING[now], one.contributor), asset, one.amount)
        yield credit(account_name(to, one.contributor), asset, one.amount)


# Claimed


def claim_key(distributor: Distributor, row: ChainClaim) -> str:
    """The key of a claim's entry: chain, distributor, transaction and log."""
    return f"{ChainClaim.entry_kind}:{distributor.subject()}:{row.transaction_hash}:{row.log_index}"


def claim_payload(distributor: Distributor, row: ChainClaim) -> dict[str, Any]:
    """What a claim's entry says, beside what is taken from holds."""
    return {
        "distributor": distributor.id,
        "chain_id": distributor.chain_id,
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


def claim_steps(steps: Iterable[Change], contributor: str, asset: str) -> list[dict[str, Any]]:
    """What a claim's entry says of the holds that it takes from."""
    return [stated_change(step, account_name(LYING[PUBLISHED], contributor), asset) for step in steps]


def claim_lines(contributor: str, asset: str, amount: int) -> list[Line]:
    """Its lines: from in flight to paid."""
    in_flight, paid = account_name(LYING[PUBLISHED], contributor), account_name("paid", contributor)
    return [debit(in_flight, asset, amount), credit(paid, asset, amount)]


def _hold(purpose: str, now: str, contributor: str, asset: str, amount: int) -> NewHold:
    origin, destination = account_name("payable", contributor), account_name("paid", contributor)
    return NewHold(purpose, account_name(LYING[now], contributor), origin, destination, asset, amount)


def stated_attempt(attempt: Attempt, receipts: Iterable[Receipt]) -> dict[str, Any]:
    """A transaction and what was seen of it, as an entry commits to it. Fees are in wei a gas."""
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
        "receipts": [stated_receipt(receipt) for receipt in receipts],
    }


def stated_receipt(receipt: Receipt) -> dict[str, Any]:
    """Where a transaction was seen, as an entry commits to it."""
    return {
        "id": receipt.id,
        "block_number": receipt.block_number,
        "block_hash": receipt.block_hash,
        "succeeded": receipt.succeeded,
        "seen_at": receipt.seen_at,
    }
