"""Runs, the settlements that turn them into money, and disputes about these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, String, UniqueConstraint, column
from sqlmodel import Field

from ledger.exact_integer import ExactInteger
from ledger.models.base import RegistryRow, Row, entry_key, is_sha256, made_by


class Run(Row, table=True):
    """A metered run, valued by its entry. Totals are weighted over tasks, in integers of 1e-12 nat."""

    __tablename__ = "runs"
    __table_args__ = (CheckConstraint("length(id) = 64", name="a_run_is_named_by_its_records_sha256"),)
    id: str = Field(primary_key=True)
    path: str  # the record's folder; relative paths start at the ledger's own folder
    began_at: str
    ended_at: str | None
    complete: bool
    objective: str | None = Field(default=None, foreign_key="objectives.id")
    improvement: int = Field(sa_column=Column(ExactInteger(), nullable=False))
    house: int = Field(sa_column=Column(ExactInteger(), nullable=False))
    gap: int = Field(sa_column=Column(ExactInteger(), nullable=False))
    entry: int = made_by()


class Settlement(Row, table=True):
    """Runs turned into money, on the terms stated here, by its entry."""

    __tablename__ = "settlements"
    __table_args__ = (
        UniqueConstraint("subject", "attempt"),
        CheckConstraint("attempt >= 1", name="attempts_are_counted_from_one"),
        CheckConstraint("mode IN ('pool', 'rate')", name="a_settlement_divides_a_pool_or_pays_a_rate"),
        CheckConstraint("negative IN ('floor', 'carry', 'slash')", name="negative_values_are_floored_carried_slashed"),
        CheckConstraint("fee_basis_points BETWEEN 0 AND 10000", name="a_fee_is_0_to_10000_basis_points"),
        CheckConstraint(column("amount", ExactInteger()) > 0, name="an_amount_is_positive"),
    )
    entry: int = entry_key()
    funding: int | None = Field(
        default=None, sa_column=Column(BigInteger, ForeignKey("entries.sequence"), nullable=True, unique=True)
    )
    subject: str  # what is settled: a run, or several, or one task of them (`ledger/scope.py`)
    attempt: int  # 1, and one more each time that the one before was reversed
    task: str | None = None  # settled on this task's values alone
    mode: str
    asset: str = Field(sa_column=Column(String, ForeignKey("commodities.code"), nullable=False))
    amount: int = Field(
        sa_column=Column(ExactInteger(), nullable=False)
    )  # minor units: the pool, or the price of a nat
    negative: str
    fee_basis_points: int
    partial: bool
    policies: str  # canonical JSON: the list of what else was agreed, in order (`ledger/policies/`)
    valuation: str | None = None  # the one of the runs' valuations that it pays by; None for their own


class SettledRun(Row, table=True):
    """One of the runs that a settlement is about."""

    __tablename__ = "settled_runs"
    settlement: int = Field(
        sa_column=Column(BigInteger, ForeignKey("settlements.entry"), primary_key=True, autoincrement=False)
    )
    run: str = Field(foreign_key="runs.id", primary_key=True, index=True)


class Dispute(RegistryRow, table=True):
    """A contributor's claim to money that a settlement gave to another, or to the house where no one is named."""

    entry_kind: ClassVar[str] = "dispute"
    __tablename__ = "disputes"
    __table_args__ = (
        is_sha256("evidence", "evidence_is_known_by_its_sha256"),
        CheckConstraint("claimant <> respondent", name="nobody_disputes_with_oneself"),
        CheckConstraint(column("amount", ExactInteger()) > 0, name="an_amount_is_positive"),
    )
    entry: int = entry_key()
    claimant: str = Field(foreign_key="contributors.id", index=True)
    respondent: str | None = Field(default=None, foreign_key="contributors.id", index=True)
    settlement: int = Field(sa_column=Column(BigInteger, ForeignKey("settlements.entry"), nullable=False, index=True))
    asset: str = Field(foreign_key="commodities.code")
    amount: int = Field(sa_column=Column(ExactInteger(), nullable=False))  # minor units
    evidence: str
    calls_for: str | None = None  # the valuation by which the claimant wants to be paid

    def subject(self) -> str:
        """Who claims."""
        return self.claimant

    def payload(self) -> Mapping[str, Any]:
        """All of it, the amount as text."""
        called = {} if self.calls_for is None else {"calls_for": self.calls_for}
        return {
            "claimant": self.claimant,
            "respondent": self.respondent,
            "settlement": self.settlement,
            "asset": self.asset,
            "amount": str(self.amount),
            "evidence": self.evidence,
            **called,
        }


class Resolution(RegistryRow, table=True):
    """How a dispute ended."""

    entry_kind: ClassVar[str] = "resolution"
    __tablename__ = "resolutions"
    __table_args__ = (
        CheckConstraint("outcome IN ('claimant', 'respondent')", name="a_dispute_is_resolved_for_one_side"),
    )
    entry: int = entry_key()
    dispute: int = Field(sa_column=Column(BigInteger, ForeignKey("disputes.entry"), nullable=False, unique=True))
    outcome: str
    payout: int | None = Field(default=None, sa_column=Column(ExactInteger(), nullable=True))  # by what was called for

    def subject(self) -> str:
        """The dispute's entry."""
        return str(self.dispute)

    def payload(self) -> Mapping[str, Any]:
        """The dispute and its outcome; what the called-for valuation would have given the claimant, as text."""
        called = {} if self.payout is None else {"payout": str(self.payout)}
        return {"dispute": self.dispute, "outcome": self.outcome, **called}
