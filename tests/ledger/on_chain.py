"""Settlement on a chain without any chain: keys, payout addresses, and what a watcher would have seen."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from eth_account import Account
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from sqlmodel import Session, func, select

from ledger import journal, registry
from ledger.chain import booking, publications
from ledger.chain.addresses import DEFAULT_DELAY, set_address, to_sign
from ledger.chain.distributors import register_distributor
from ledger.chain.fees import Fees
from ledger.chain.keys import Keystore
from ledger.chain.operators import add_operator, remove_operator
from ledger.chain.transactions import transaction, transaction_hash
from ledger.instants import format_instant
from ledger.lines import credit, debit
from ledger.models import (
    Attempt,
    ChainClaim,
    Contributor,
    Distributor,
    PayoutAddress,
    Publication,
    PublicationEnd,
    Receipt,
)
from ledger.money import Asset

CHAIN_ID = 31337
ASSET = Asset("DUSD", 6)


def key(who: str) -> Keystore:
    """Somebody's key, always the same."""
    return Keystore(Account.from_key(keccak(text=f"ghostledger test {who}")))


def contract(name: str) -> str:
    """The address of a contract, always the same."""
    return str(to_checksum_address(keccak(text=name)[-20:]))


def hash_of(name: str) -> str:
    """A transaction's or a block's hash."""
    return "0x" + keccak(text=name).hex()


def distribute(
    session: Session, name: str = "distributor", *, chain_id: int = CHAIN_ID, asset: Asset = ASSET, **details: Any
) -> Distributor:
    """Register a distributor of an asset."""
    registry.use_asset(session, asset)
    said = {"activation_delay": 3600, "first_block": 1, "confirmations": 3, "code_hash": hash_of("code")} | details
    return register_distributor(
        session,
        chain_id=chain_id,
        address=contract(name),
        token=contract(f"token of {name}"),
        asset=asset.code,
        **said,
    )


def owe(session: Session, **due: int) -> None:
    """Make minor units payable to contributors, each added where they are not known."""
    for who in due:
        if session.get(Contributor, who) is None:
            registry.add_contributor(session, who)
    registry.use_asset(session, ASSET)
    lines = [debit("buyer", ASSET.code, sum(due.values()))]
    lines += [credit(f"payable:{who}", ASSET.code, amount) for who, amount in due.items()]
    number = journal.head(session)[0]
    journal.post(session, kind="owed", subject="all", key=f"owed:{number}", payload={}, lines=lines)


def pay_to(
    session: Session,
    who: str,
    whose: str | None = None,
    *,
    chain_id: int = CHAIN_ID,
    approved_by: Iterable[str] = (),
    delay: timedelta = DEFAULT_DELAY,
    signed_by: str | None = None,
) -> PayoutAddress:
    """Set a contributor's address to that of a key, by default of their own."""
    address = key(whose or who).address
    asked = to_sign(session, contributor=who, chain_id=chain_id, address=address)
    return set_address(
        session,
        contributor=who,
        chain_id=chain_id,
        address=address,
        signature=key(signed_by or whose or who).sign_typed_data(asked.ownership),
        approvals=[key(name).sign_typed_data(asked.change or {}) for name in approved_by],
        delay=delay,
    )


def later(session: Session, wait: timedelta) -> None:
    """Let time pass for a session."""
    clock = session.info["clock"]
    session.info["clock"] = lambda: clock() + wait


def intend(session: Session, distributor: Distributor, root_id: int = 1) -> Publication:
    """Intend to publish what is due."""
    return publications.intend(session, publications.plan(session, distributor, root_id))


def try_it(
    session: Session, publication: Publication, *, nonce: int, purpose: str = "submit", gas_price: int = 10
) -> Attempt:
    """Save a signed transaction as the publisher would."""
    distributor = session.get_one(Distributor, publication.distributor)
    words = (publication.root_id, int(publication.root, 16), publication.total, int(publication.metadata_hash, 16))
    call = keccak(text="submitRoot(uint256,bytes32,uint256,bytes32)")[:4]
    submits, sender = purpose == "submit", key("publisher")
    said = transaction(
        chain_id=distributor.chain_id,
        nonce=nonce,
        to=distributor.address if submits else sender.address,
        data=call + b"".join(word.to_bytes(32, "big") for word in words) if submits else b"",
        gas=100_000,
        fees=Fees(gas_price, 1),
    )
    raw = sender.sign_transaction(said)
    made = Attempt(
        id=(session.exec(select(func.max(Attempt.id))).one() or 0) + 1,
        publication=publication.entry,
        purpose=purpose,
        chain_id=distributor.chain_id,
        sender=sender.address,
        nonce=nonce,
        raw=raw,
        hash=transaction_hash(raw),
        gas=100_000,
        max_fee=gas_price,
        priority_fee=1,
        saved_at=format_instant(session.info["clock"]()),
    )
    session.add(made)
    session.flush()
    return made


def see(session: Session, attempt: Attempt, block: int, branch: str = "main", *, succeeded: bool = True) -> Receipt:
    """Save that a transaction was seen in a block."""
    made = Receipt(
        id=(session.exec(select(func.max(Receipt.id))).one() or 0) + 1,
        attempt=attempt.id,
        block_number=block,
        block_hash=hash_of(f"{branch} {block}"),
        succeeded=succeeded,
        seen_at=format_instant(session.info["clock"]()),
    )
    session.add(made)
    session.flush()
    return made


def publish(session: Session, publication: Publication, block: int = 10) -> PublicationEnd:
    """Book that a root is final."""
    return booking.book_published(
        session,
        publication,
        transaction=hash_of(f"submission {publication.entry}"),
        block_number=block,
        block_hash=hash_of(f"main {block}"),
    )


def activate(session: Session, publication: Publication, block: int = 20) -> PublicationEnd:
    """Book that a root is active."""
    return booking.book_activated(session, publication, block_number=block, block_hash=hash_of(f"main {block}"))


def abandon(session: Session, publication: Publication) -> PublicationEnd:
    """Book that it never reached the chain."""
    return booking.book_abandoned(session, publication, "never sent")


def revoke(session: Session, publication: Publication, block: int = 15) -> PublicationEnd:
    """Book that a root was revoked."""
    return booking.book_revoked(
        session,
        publication,
        transaction=hash_of(f"revocation {publication.entry}"),
        block_number=block,
        block_hash=hash_of(f"main {block}"),
    )


def claim(
    session: Session,
    distributor: Distributor,
    who: str,
    amount: int,
    cumulative: int,
    *,
    log_index: int = 0,
    block: int = 30,
    to: str | None = None,
) -> ChainClaim:
    """Book a claim for a key's address."""
    return booking.book_claim(
        session,
        distributor,
        transaction=hash_of(f"claim {who} {cumulative}"),
        log_index=log_index,
        block_number=block,
        block_hash=hash_of(f"main {block}"),
        address=key(who).address,
        to=key(to or who).address,
        amount=amount,
        cumulative=cumulative,
    )


def everything(session: Session) -> None:
    """Let everything happen on two chains."""
    distributor, other = distribute(session), distribute(session, "other", chain_id=1)
    for name in ("ann", "ben", "eve"):
        add_operator(session, name, key(name).address)
    remove_operator(session, "eve")
    owe(session, dora=400, emil=300, fred=200)
    pay_to(session, "dora", chain_id=1)
    waiting = intend(session, other)  # until the end
    try_it(session, waiting, nonce=7)
    for name in ("emil", "fred"):
        pay_to(session, name)
    pay_to(session, "dora")
    owe(session, dora=500)
    gone = intend(session, distributor)
    tried = try_it(session, gone, nonce=0)
    cancelled = try_it(session, gone, nonce=0, purpose="cancel", gas_price=12)
    assert tried.id < see(session, cancelled, 5).attempt
    booking.book_abandoned(session, gone, "changed our minds")
    made = intend(session, distributor)
    try_it(session, made, nonce=1)
    replaced = try_it(session, made, nonce=1, gas_price=20)
    see(session, replaced, 9, "uncle")
    see(session, replaced, 10)
    publish(session, made)
    activate(session, made)
    claim(session, distributor, "dora", 500, 500)
    owe(session, dora=50, emil=60)
    revoked = intend(session, distributor, 2)
    see(session, try_it(session, revoked, nonce=2), 31)
    publish(session, revoked, 31)
    revoke(session, revoked, 33)
    pay_to(session, "dora", "dora's new", approved_by=["dora"])
    pay_to(session, "emil", "emil's new", approved_by=["ann", "ben"])
    later(session, DEFAULT_DELAY)
    second = intend(session, distributor, 3)
    see(session, try_it(session, second, nonce=3), 40)
    publish(session, second, 40)
    claim(session, distributor, "dora's new", 50, 50, block=41)
    claim(session, distributor, "emil", 300, 300, block=41, to="emil's new")
