"""The journal: entries, their parts and postings, and the accounts that postings move.

Everything else in the database is what these rows say, in a form that can be queried and constrained.
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
    column,
)
from sqlmodel import Field

from ledger.exact_integer import BALANCE_DIGITS, ExactInteger
from ledger.models.base import RegistryRow, Row, entry_key, is_instant, is_sha256, to_account


class Entry(Row, table=True):
    """One entry of the journal, chained to the one before it by hash (`ledger/canonical.py`)."""

    __tablename__ = "entries"
    __table_args__ = (
        CheckConstraint("sequence >= 1", name="entries_are_counted_from_one"),
        CheckConstraint(
            "length(content) = 64 AND length(previous) = 64 AND length(hash) = 64", name="hashes_are_sha256"
        ),
        CheckConstraint("reverses < sequence", name="a_reversal_follows_what_it_reverses"),
        is_instant("recorded_at"),
        is_instant("event_at"),
        is_instant("stated_at"),
        CheckConstraint("event_at = stated_at OR event_at = recorded_at", name="an_event_is_as_stated_or_as_recorded"),
        CheckConstraint("event_at <= recorded_at", name="what_has_not_happened_is_not_booked"),
    )
    sequence: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    kind: str = Field(index=True)
    subject: str = Field(index=True)
    recorded_at: str  # when it was written
    event_at: str = Field(index=True)  # when it happened: what balances as of a day go by
    stated_at: str | None = None  # when it was said to have happened; before `event_at` if that period was closed
    reason: str | None = None
    reference: str | None = Field(default=None, index=True)  # the outside world's name for it
    key: str = Field(unique=True)  # the request's idempotency key
    payload: str  # canonical JSON (RFC 8785)
    content: str  # SHA-256 of what was asked for
    previous: str  # the hash of the entry before
    hash: str = Field(unique=True)  # its leaf hash in the Merkle log
    reverses: int | None = Field(
        default=None, sa_column=Column(BigInteger, ForeignKey("entries.sequence"), nullable=True, unique=True)
    )


class Part(Row, table=True):
    """What an entry says about one contributor, apart from what it says of all: provable without the others."""

    __tablename__ = "parts"
    __table_args__ = (CheckConstraint("number >= 1", name="parts_are_counted_from_one"),)
    entry: int = Field(
        sa_column=Column(BigInteger, ForeignKey("entries.sequence"), primary_key=True, autoincrement=False)
    )
    number: int = Field(primary_key=True)
    contributor: str = Field(foreign_key="contributors.id", index=True)
    payload: str  # canonical JSON (RFC 8785)


class Posting(Row, table=True):
    """One line of an entry: a positive amount of a commodity on one side of an account."""

    __tablename__ = "postings"
    __table_args__ = (
        CheckConstraint("side IN ('debit', 'credit')", name="a_posting_is_a_debit_or_a_credit"),
        CheckConstraint(column("amount", ExactInteger()) > 0, name="an_amount_is_positive"),
        to_account("account", "commodity"),
        Index(None, "account", "commodity", "entry", unique=True),  # an entry touches an account once
    )
    entry: int = Field(
        sa_column=Column(BigInteger, ForeignKey("entries.sequence"), primary_key=True, autoincrement=False)
    )
    line: int = Field(primary_key=True)
    account: str
    commodity: str
    side: str
    amount: int = Field(sa_column=Column(ExactInteger(), nullable=False))
    # the account's balance after this line, positive on the account's normal side
    balance: int = Field(sa_column=Column(ExactInteger(BALANCE_DIGITS), nullable=False))


class Head(Row, table=True):
    """The one row that counts the entries and holds the last hash: an entry cut off the end is missed here."""

    __tablename__ = "head"
    __table_args__ = (CheckConstraint("id = 1", name="there_is_one_head"),)
    id: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    count: int = Field(sa_type=BigInteger)
    hash: str


class Account(Row, table=True):
    """An account of one commodity, named by its kind, and by its owner where it has one: ``payable:alice``.

    Its balance is counted on its normal side and never goes below its floor; without a floor it may go anywhere.
    """

    __tablename__ = "accounts"
    __table_args__ = (
        CheckConstraint(
            "(contributor IS NULL AND name = kind) OR name = kind || ':' || contributor",
            name="an_account_is_named_by_kind_and_owner",
        ),
        CheckConstraint("normal_side IN ('debit', 'credit')", name="an_account_has_a_normal_side"),
    )
    name: str = Field(primary_key=True)
    commodity: str = Field(foreign_key="commodities.code", primary_key=True)
    kind: str = Field(index=True)
    contributor: str | None = Field(default=None, foreign_key="contributors.id", index=True)
    normal_side: str
    floor: int | None = Field(default=None, sa_column=Column(ExactInteger(BALANCE_DIGITS), nullable=True))
    entry: int = Field(sa_column=Column(BigInteger, ForeignKey("entries.sequence"), nullable=False, index=True))


class AccountChange(RegistryRow, table=True):
    """An account frozen, freed again, or closed. A frozen or closed account takes no posting."""

    entry_kind: ClassVar[str] = "account change"
    __tablename__ = "account_changes"
    __table_args__ = (
        CheckConstraint("change IN ('frozen', 'freed', 'closed')", name="an_account_is_frozen_freed_or_closed"),
        to_account("account", "commodity"),
        Index(None, "account", "commodity", "entry"),
    )
    entry: int = entry_key()
    account: str
    commodity: str
    change: str

    def subject(self) -> str:
        """The account and its commodity."""
        return f"{self.account} {self.commodity}"

    def payload(self) -> Mapping[str, Any]:
        """Account, commodity and change."""
        return {"account": self.account, "commodity": self.commodity, "change": self.change}


class Period(RegistryRow, table=True):
    """A period closed: what happened until `through` is sealed, and what is booked late is booked forward."""

    entry_kind: ClassVar[str] = "period"
    __tablename__ = "periods"
    __table_args__ = (is_instant("through"), is_sha256("trial_balance", "a_trial_balance_is_sealed_by_sha256"))
    entry: int = entry_key()
    through: str = Field(unique=True)  # the period's last moment
    trial_balance: str  # SHA-256 of the canonical trial balance

    def subject(self) -> str:
        """The period's last moment."""
        return self.through

    def payload(self) -> Mapping[str, Any]:
        """The period's last moment, and the seal."""
        return {"through": self.through, "trial_balance": self.trial_balance}
