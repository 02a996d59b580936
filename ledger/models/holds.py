"""Money that is set aside, and what became of it. Both are what entries' payloads say under "holds"."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, Integer, column
from sqlmodel import Field

from ledger.exact_integer import ExactInteger
from ledger.models.base import Row, is_instant, to_account

PURPOSES = ("holdback", "vesting", "dispute", "stop", "payout", "publication", "claim")


class Hold(Row, table=True):
    """An amount that lies in `account` until it goes on to `destination` or back to `origin`, whole or in part."""

    __tablename__ = "holds"
    __table_args__ = (
        CheckConstraint(
            "purpose IN (" + ", ".join(f"'{purpose}'" for purpose in PURPOSES) + ")", name="a_hold_has_a_purpose"
        ),
        CheckConstraint(column("amount", ExactInteger()) > 0, name="an_amount_is_positive"),
        CheckConstraint("release_at < expires_at", name="a_hold_can_be_released_before_it_expires"),
        is_instant("release_at"),
        is_instant("expires_at"),
        to_account("account", "commodity"),
        Index(None, "account", "entry"),
    )
    id: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    entry: int = Field(sa_column=Column(BigInteger, ForeignKey("entries.sequence"), nullable=False, index=True))
    purpose: str
    account: str
    origin: str
    destination: str
    commodity: str
    amount: int = Field(sa_column=Column(ExactInteger(), nullable=False))
    release_at: str | None = None  # not before
    expires_at: str | None = None  # back to its origin after


class HoldChange(Row, table=True):
    """A hold that was posted to its destination, voided or expired back to its origin: all of it or a part.

    What the reversal of such an entry puts back is restored.
    """

    __tablename__ = "hold_changes"
    __table_args__ = (
        CheckConstraint(
            "change IN ('posted', 'voided', 'expired', 'restored')", name="a_hold_is_posted_voided_expired_or_restored"
        ),
        CheckConstraint(column("amount", ExactInteger()) > 0, name="an_amount_is_positive"),
    )
    entry: int = Field(
        sa_column=Column(BigInteger, ForeignKey("entries.sequence"), primary_key=True, autoincrement=False)
    )
    hold: int = Field(
        sa_column=Column(Integer, ForeignKey("holds.id"), primary_key=True, autoincrement=False, index=True)
    )
    change: str
    amount: int = Field(sa_column=Column(ExactInteger(), nullable=False))
