"""Settlement on chains: distributors, payout addresses, what was published, and what was sent and seen for it.

Whatever a chain names is text: addresses with their checksum (EIP-55), hashes as ``0x`` and 64 lower-case digits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    UniqueConstraint,
    column,
)
from sqlmodel import Field

from ledger.exact_integer import ExactInteger
from ledger.models.base import RegistryRow, Row, entry_key, is_instant, made_by

ADDRESS_LENGTH, HASH_LENGTH = 42, 66
ENDS: Mapping[str, str] = {  # what becomes of a publication, and the kind of the entry that says so
    "published": "published",
    "activated": "root activated",
    "revoked": "root revoked",
    "abandoned": "publication abandoned",
}


def _is_address(name: str) -> CheckConstraint:
    return CheckConstraint(f"length({name}) = {ADDRESS_LENGTH}", name=f"{name}_is_an_address")


def _is_hash(name: str) -> CheckConstraint:
    return CheckConstraint(f"length({name}) = {HASH_LENGTH}", name=f"{name}_is_32_bytes")


def _is_positive(name: str) -> CheckConstraint:
    return CheckConstraint(column(name, ExactInteger()) > 0, name=f"{name}_is_positive")


def _exact() -> Any:
    return Field(sa_column=Column(ExactInteger(), nullable=False))


def _big() -> Any:
    return Field(sa_column=Column(BigInteger, nullable=False))


def _number() -> Any:
    return Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))


class Distributor(RegistryRow, table=True):
    """A contract that pays one token, in which one asset of the books is published."""

    entry_kind: ClassVar[str] = "distributor"
    __tablename__ = "distributors"
    __table_args__ = (
        UniqueConstraint("chain_id", "address"),
        _is_address("address"),
        _is_address("token"),
        _is_hash("code_hash"),
        CheckConstraint("chain_id >= 1", name="a_chain_has_a_number"),
        CheckConstraint("address <> token", name="a_distributor_is_not_its_token"),
        CheckConstraint("activation_delay >= 0 AND first_block >= 0", name="time_and_blocks_count_from_nothing"),
        CheckConstraint("confirmations >= 1", name="what_is_final_lies_in_a_block"),
    )
    id: int = _number()
    chain_id: int = _big()
    address: str
    token: str
    asset: str = Field(foreign_key="commodities.code")
    code_hash: str  # of the code that runs there
    activation_delay: int = _big()  # seconds
    first_block: int = _big()  # the one in which it was made
    confirmations: int  # blocks until what is seen is final
    entry: int = made_by()

    def subject(self) -> str:
        """Chain and address."""
        return f"{self.chain_id}:{self.address}"

    def payload(self) -> Mapping[str, Any]:
        """All of it."""
        return {
            "id": self.id,
            "chain_id": self.chain_id,
            "address": self.address,
            "token": self.token,
            "asset": self.asset,
            "code_hash": self.code_hash,
            "activation_delay": self.activation_delay,
            "first_block": self.first_block,
            "confirmations": self.confirmations,
        }


class Operator(RegistryRow, table=True):
    """Somebody who may approve, with another operator, that a contributor's payout address changes."""

    entry_kind: ClassVar[str] = "operator"
    __tablename__ = "operators"
    __table_args__ = (
        CheckConstraint("change IN ('added', 'removed')", name="an_operator_is_added_or_removed"),
        _is_address("address"),
    )
    entry: int = entry_key()
    name: str = Field(index=True)
    address: str
    change: str

    def subject(self) -> str:
        """The operator's name."""
        return self.name

    def payload(self) -> Mapping[str, Any]:
        """Name, address and change."""
        return {"name": self.name, "address": self.address, "change": self.change}


class PayoutAddress(RegistryRow, table=True):
    """Where a contributor is paid on a chain, from an instant on, unless another address replaces it before that."""

    entry_kind: ClassVar[str] = "payout address"
    __tablename__ = "payout_addresses"
    __table_args__ = (
        UniqueConstraint("contributor", "chain_id", "nonce"),
        _is_address("address"),
        is_instant("effective_at"),
        CheckConstraint("chain_id >= 1", name="a_chain_has_a_number"),
        CheckConstraint("nonce >= 0 AND delay >= 0", name="addresses_and_time_count_from_nothing"),
        CheckConstraint("(nonce = 0) = (approvals = '[]')", name="a_change_is_approved"),
        CheckConstraint("(nonce = 0) = (delay = 0)", name="a_change_is_delayed"),
    )
    entry: int = entry_key()
    contributor: str = Field(foreign_key="contributors.id", index=True)
    chain_id: int = _big()
    address: str = Field(index=True)
    nonce: int  # how many addresses the contributor had before on this chain
    delay: int = _big()  # seconds between its entry and its effect; none for the first
    effective_at: str
    contract_wallet: bool  # signatures of contracts were checked on the chain, and cannot be checked by rows alone
    signature: str  # of whoever owns the address, hexadecimal
    approvals: str  # canonical JSON: [{"by": "owner" or an operator's name, "signature": hexadecimal}, ...]

    def subject(self) -> str:
        """Contributor and chain."""
        return f"{self.contributor}:{self.chain_id}"

    def payload(self) -> Mapping[str, Any]:
        """All of it."""
        return {
            "contributor": self.contributor,
            "chain_id": self.chain_id,
            "address": self.address,
            "nonce": self.nonce,
            "delay": self.delay,
            "effective_at": self.effective_at,
            "contract_wallet": self.contract_wallet,
            "signature": self.signature,
            "approvals": self.approvals,
        }


class Publication(Row, table=True):
    """A tree that is to be published: everything that a distributor may have paid by then, in all."""

    entry_kind: ClassVar[str] = "publication"
    __tablename__ = "publications"
    __table_args__ = (
        CheckConstraint("root_id >= 1", name="roots_are_counted_from_one"),
        _is_hash("root"),
        _is_hash("metadata_hash"),
        _is_positive("total"),
        CheckConstraint("log_size = entry - 1", name="a_log_ends_before_what_it_is_published_in"),
        Index(None, "distributor", "root_id"),
    )
    entry: int = entry_key()
    distributor: int = Field(foreign_key="distributors.id")
    root_id: int = _big()  # used again only where an earlier publication of it was abandoned
    root: str
    total: int = _exact()  # minor units: the sum of all cumulative amounts in the tree
    metadata_hash: str  # SHA-256 of the unsigned checkpoint of the log as it was ahead of the entry
    log_size: int = _big()


class Leaf(Row, table=True):
    """What a publication adds for one contributor. The tree also holds what earlier ones added, as it was."""

    __tablename__ = "leaves"
    __table_args__ = (
        UniqueConstraint("publication", "address"),
        _is_address("address"),
        _is_positive("amount"),
        CheckConstraint(
            column("cumulative", ExactInteger()) >= column("amount", ExactInteger()),
            name="what_is_new_is_a_part_of_the_whole",
        ),
    )
    publication: int = Field(
        sa_column=Column(BigInteger, ForeignKey("publications.entry"), primary_key=True, autoincrement=False)
    )
    contributor: str = Field(foreign_key="contributors.id", primary_key=True, index=True)
    address: str = Field(index=True)
    amount: int = _exact()  # new, minor units
    cumulative: int = _exact()  # all that this distributor was ever told to pay to the address


class PublicationEnd(Row, table=True):
    """What became of a publication: published, then activated or revoked; or never to be, and abandoned."""

    __tablename__ = "publication_ends"
    __table_args__ = (
        UniqueConstraint("publication", "change"),
        CheckConstraint(
            "change IN ('published', 'activated', 'revoked', 'abandoned')",
            name="a_publication_ends_in_one_of_these_ways",
        ),
        CheckConstraint(
            "(change IN ('published', 'revoked')) = (transaction_hash IS NOT NULL)",
            name="a_transaction_publishes_and_revokes",
        ),
        CheckConstraint(
            "(change = 'abandoned') = (block_number IS NULL) AND (change = 'abandoned') = (block_hash IS NULL)",
            name="what_was_seen_was_in_a_block",
        ),
        _is_hash("transaction_hash"),
        _is_hash("block_hash"),
    )
    entry: int = entry_key()
    publication: int = Field(sa_column=Column(BigInteger, ForeignKey("publications.entry"), nullable=False))
    change: str
    transaction_hash: str | None = None
    block_number: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))
    block_hash: str | None = None


class ChainClaim(Row, table=True):
    """What a distributor paid out, as a final log of the chain says."""

    entry_kind: ClassVar[str] = "claim"
    __tablename__ = "chain_claims"
    __table_args__ = (
        UniqueConstraint("distributor", "transaction_hash", "log_index"),
        _is_hash("transaction_hash"),
        _is_hash("block_hash"),
        _is_address("address"),
        _is_address("recipient"),
        _is_positive("amount"),
        CheckConstraint(
            column("cumulative", ExactInteger()) >= column("amount", ExactInteger()),
            name="what_is_new_is_a_part_of_the_whole",
        ),
        CheckConstraint("block_number >= 0 AND log_index >= 0", name="blocks_and_logs_count_from_nothing"),
        Index(None, "distributor", "address"),
    )
    entry: int = entry_key()
    distributor: int = Field(foreign_key="distributors.id")
    transaction_hash: str
    log_index: int
    block_number: int = _big()
    block_hash: str
    address: str  # the leaf's
    recipient: str  # to which the tokens went
    amount: int = _exact()  # minor units
    cumulative: int = _exact()  # all that was claimed for the address by then


class Attempt(Row, table=True):
    """A signed transaction, saved before it is sent. No entry makes it; what ends its publication commits to it."""

    __tablename__ = "attempts"
    __table_args__ = (
        CheckConstraint("purpose IN ('submit', 'cancel')", name="an_attempt_submits_or_cancels"),
        CheckConstraint("chain_id >= 1", name="a_chain_has_a_number"),
        CheckConstraint("nonce >= 0 AND gas > 0", name="nonces_count_from_nothing_and_gas_is_needed"),
        CheckConstraint(
            column("max_fee", ExactInteger()) >= column("priority_fee", ExactInteger()),
            name="a_tip_is_a_part_of_the_fee",
        ),
        _is_address("sender"),
        _is_hash("hash"),
        is_instant("saved_at"),
        Index(None, "chain_id", "sender", "nonce"),
    )
    id: int = _number()
    publication: int = Field(sa_column=Column(BigInteger, ForeignKey("publications.entry"), nullable=False, index=True))
    purpose: str
    chain_id: int = _big()
    sender: str
    nonce: int = _big()
    raw: bytes = Field(sa_column=Column(LargeBinary, nullable=False))  # as it is sent
    hash: str = Field(unique=True)
    gas: int = _big()
    max_fee: int = _exact()  # wei a gas, as is the priority fee
    priority_fee: int = _exact()
    saved_at: str


class Receipt(Row, table=True):
    """That an attempt was seen in a block. A later one in another block means that the chain was reorganised."""

    __tablename__ = "receipts"
    __table_args__ = (
        UniqueConstraint("attempt", "block_hash"),
        CheckConstraint("block_number >= 0", name="blocks_count_from_nothing"),
        _is_hash("block_hash"),
        is_instant("seen_at"),
    )
    id: int = _number()
    attempt: int = Field(foreign_key="attempts.id")
    block_number: int = _big()
    block_hash: str
    succeeded: bool
    seen_at: str
