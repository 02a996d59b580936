"""The tables. Rows are only ever added; each registry row names the journal entry that committed it to the chain.

The journal (`entries`, `postings`) is the truth. The other tables hold what its payloads say in a form that can be
queried and constrained; the audit compares the two. Instants are text (`ledger/instants.py`), amounts `ExactInteger`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    UniqueConstraint,
    column,
)
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from ledger.exact_integer import ExactInteger

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Row(SQLModel, registry=registry(metadata=MetaData(naming_convention=NAMING_CONVENTION))):
    """What all tables share: this package's own metadata."""


class RegistryRow(Row):
    """A row that an entry of the journal commits to."""

    entry_kind: ClassVar[str]
    entry: int

    def subject(self) -> str:
        """What the entry calls this row."""
        raise NotImplementedError

    def payload(self) -> Mapping[str, Any]:
        """Exactly what the entry says about this row."""
        raise NotImplementedError


def _entry() -> Any:
    return Field(sa_column=Column(Integer, ForeignKey("entries.sequence"), nullable=False, unique=True))


def _fingerprint_is_sha256(column: str) -> CheckConstraint:
    return CheckConstraint(f"length({column}) = 64", name="a_fingerprint_is_a_sha256")


# The journal


class Entry(Row, table=True):
    """One entry of the journal, chained to the one before it by hash (`ledger/journal.py`)."""

    __tablename__ = "entries"
    __table_args__ = (
        CheckConstraint("sequence >= 1", name="entries_are_counted_from_one"),
        CheckConstraint(
            "length(content) = 64 AND length(previous) = 64 AND length(hash) = 64", name="hashes_are_sha256"
        ),
        CheckConstraint("reverses < sequence", name="a_reversal_follows_what_it_reverses"),
    )
    sequence: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    kind: str
    subject: str = Field(index=True)
    recorded_at: str
    key: str = Field(unique=True)  # the request's idempotency key
    payload: str  # canonical JSON (RFC 8785)
    content: str  # SHA-256 of what was asked for
    previous: str  # the hash of the entry before
    hash: str = Field(unique=True)
    reverses: int | None = Field(default=None, foreign_key="entries.sequence", unique=True)


class Posting(Row, table=True):
    """One line of an entry: a positive amount of a commodity on one side of an account."""

    __tablename__ = "postings"
    __table_args__ = (
        CheckConstraint("side IN ('debit', 'credit')", name="a_posting_is_a_debit_or_a_credit"),
        CheckConstraint(column("amount", ExactInteger()) > 0, name="an_amount_is_positive"),
    )
    entry: int = Field(foreign_key="entries.sequence", primary_key=True)
    line: int = Field(primary_key=True)
    account: str = Field(foreign_key="accounts.name", index=True)
    commodity: str = Field(foreign_key="commodities.code")
    side: str
    amount: int = Field(sa_column=Column(ExactInteger(), nullable=False))


class Head(Row, table=True):
    """The one row that counts the entries and holds the last hash: an entry cut off the end is missed here."""

    __tablename__ = "head"
    __table_args__ = (CheckConstraint("id = 1", name="there_is_one_head"),)
    id: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    count: int
    hash: str


class Account(Row, table=True):
    """An account, named by its kind, and by its contributor where it is one's own: ``payable:alice``."""

    __tablename__ = "accounts"
    __table_args__ = (
        CheckConstraint(
            "(contributor IS NULL AND name = kind) OR name = kind || ':' || contributor",
            name="an_account_is_named_by_kind_and_owner",
        ),
    )
    name: str = Field(primary_key=True)
    kind: str
    contributor: str | None = Field(default=None, foreign_key="contributors.id")


# The registry


class Commodity(RegistryRow, table=True):
    """What amounts are counted in: nats (exponent 12), currencies and tokens."""

    entry_kind: ClassVar[str] = "commodity"
    __tablename__ = "commodities"
    __table_args__ = (CheckConstraint("exponent BETWEEN 0 AND 18", name="an_exponent_is_0_to_18"),)
    code: str = Field(primary_key=True)
    exponent: int
    entry: int = _entry()

    def subject(self) -> str:
        """Its code."""
        return self.code

    def payload(self) -> Mapping[str, Any]:
        """Code and exponent."""
        return {"code": self.code, "exponent": self.exponent}


class Setting(RegistryRow, table=True):
    """A rule of this ledger, fixed when it was made."""

    entry_kind: ClassVar[str] = "setting"
    __tablename__ = "settings"
    name: str = Field(primary_key=True)
    value: str
    entry: int = _entry()

    def subject(self) -> str:
        """Its name."""
        return self.name

    def payload(self) -> Mapping[str, Any]:
        """Name and value."""
        return {"name": self.name, "value": self.value}


class Contributor(RegistryRow, table=True):
    """Whoever supplies data."""

    entry_kind: ClassVar[str] = "contributor"
    __tablename__ = "contributors"
    __table_args__ = (
        CheckConstraint("length(id) BETWEEN 1 AND 64 AND id = lower(id)", name="an_id_is_short_and_lower_case"),
    )
    id: str = Field(primary_key=True)
    name: str
    entry: int = _entry()

    def subject(self) -> str:
        """Its id."""
        return self.id

    def payload(self) -> Mapping[str, Any]:
        """Id and name."""
        return {"id": self.id, "name": self.name}


class Dataset(RegistryRow, table=True):
    """What a contributor supplied, known by the fingerprint of its records (`ledger/fingerprint.py`)."""

    entry_kind: ClassVar[str] = "dataset"
    __tablename__ = "datasets"
    __table_args__ = (
        _fingerprint_is_sha256("fingerprint"),
        CheckConstraint("record_count > 0", name="a_dataset_has_a_record"),
        CheckConstraint("byte_count > 0", name="a_dataset_has_a_byte"),
        CheckConstraint("licence <> ''", name="a_dataset_has_a_licence"),
    )
    id: int | None = Field(default=None, sa_column=Column(Integer, primary_key=True))
    fingerprint: str = Field(unique=True)
    contributor: str = Field(foreign_key="contributors.id", index=True)
    name: str
    licence: str  # a normalised SPDX expression
    record_count: int = Field(sa_type=BigInteger)
    byte_count: int = Field(sa_type=BigInteger)  # UTF-8 bytes of the normalised records
    source: str  # canonical JSON: {"paths": [...], "text_field": ..., "encoding": ...}
    entry: int = _entry()

    def subject(self) -> str:
        """Its fingerprint."""
        return self.fingerprint

    def payload(self) -> Mapping[str, Any]:
        """Everything but the records, which the fingerprint stands for."""
        return {
            "id": self.id,
            "fingerprint": self.fingerprint,
            "contributor": self.contributor,
            "name": self.name,
            "licence": self.licence,
            "record_count": self.record_count,
            "byte_count": self.byte_count,
            "source": self.source,
        }

    @property
    def paths(self) -> list[str]:
        """Where the records were read from."""
        return list(json.loads(self.source)["paths"])

    @property
    def text_field(self) -> str:
        """The field that held the text, in JSON Lines and Parquet."""
        return str(json.loads(self.source)["text_field"])

    @property
    def encoding(self) -> str:
        """The encoding of text files."""
        return str(json.loads(self.source)["encoding"])


class DatasetRecord(Row, table=True):
    """The SHA-256 of one normalised record of a dataset, and how often it occurs there."""

    __tablename__ = "dataset_records"
    __table_args__ = (
        CheckConstraint("length(hash) = 32", name="a_hash_is_a_sha256"),
        CheckConstraint("copies > 0", name="a_record_occurs"),
        {"sqlite_with_rowid": False},
    )
    dataset: int = Field(sa_column=Column(Integer, ForeignKey("datasets.id"), primary_key=True, autoincrement=False))
    hash: bytes = Field(sa_column=Column(LargeBinary(32), primary_key=True, index=True))
    copies: int


class Consent(RegistryRow, table=True):
    """Consent given or withdrawn for a dataset, from an instant on."""

    entry_kind: ClassVar[str] = "consent"
    __tablename__ = "consents"
    __table_args__ = (
        CheckConstraint("change IN ('given', 'withdrawn')", name="consent_is_given_or_withdrawn"),
        CheckConstraint("length(effective_at) = 27", name="an_instant_is_utc_with_microseconds"),
    )
    entry: int = Field(sa_column=Column(Integer, ForeignKey("entries.sequence"), primary_key=True, autoincrement=False))
    dataset: str = Field(foreign_key="datasets.fingerprint", index=True)
    change: str
    effective_at: str

    def subject(self) -> str:
        """The dataset's fingerprint."""
        return self.dataset

    def payload(self) -> Mapping[str, Any]:
        """Dataset, change and instant."""
        return {"dataset": self.dataset, "change": self.change, "effective_at": self.effective_at}


class Objective(RegistryRow, table=True):
    """What runs are measured on: one or more tasks of held-out text."""

    entry_kind: ClassVar[str] = "objective"
    __tablename__ = "objectives"
    id: str = Field(primary_key=True)
    task_count: int
    entry: int = _entry()

    def subject(self) -> str:
        """Its id."""
        return self.id

    def payload(self) -> Mapping[str, Any]:
        """Its id and how many tasks follow."""
        return {"id": self.id, "task_count": self.task_count}


class ObjectiveTask(RegistryRow, table=True):
    """One task of an objective: its held-out records' fingerprint and its weight beside the other tasks' weights."""

    entry_kind: ClassVar[str] = "objective task"
    __tablename__ = "objective_tasks"
    __table_args__ = (
        UniqueConstraint("objective", "task"),
        _fingerprint_is_sha256("fingerprint"),
        CheckConstraint("record_count > 0", name="a_task_has_a_record"),
    )
    entry: int = Field(sa_column=Column(Integer, ForeignKey("entries.sequence"), primary_key=True, autoincrement=False))
    objective: str = Field(foreign_key="objectives.id")
    task: str
    weight: str  # a decimal; weights are relative to their sum
    fingerprint: str
    record_count: int = Field(sa_type=BigInteger)
    byte_count: int = Field(sa_type=BigInteger)
    source: str  # as in datasets

    def subject(self) -> str:
        """Objective and task."""
        return f"{self.objective}:{self.task}"

    def payload(self) -> Mapping[str, Any]:
        """Everything but the records, which the fingerprint stands for."""
        return {
            "objective": self.objective,
            "task": self.task,
            "weight": self.weight,
            "fingerprint": self.fingerprint,
            "record_count": self.record_count,
            "byte_count": self.byte_count,
            "source": self.source,
        }

    @property
    def paths(self) -> list[str]:
        """Where the records were read from."""
        return list(json.loads(self.source)["paths"])

    @property
    def text_field(self) -> str:
        """The field that held the text, in JSON Lines and Parquet."""
        return str(json.loads(self.source)["text_field"])

    @property
    def encoding(self) -> str:
        """The encoding of text files."""
        return str(json.loads(self.source)["encoding"])


# Runs and settlements


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
    entry: int = _entry()


class Settlement(Row, table=True):
    """A run turned into money, on the terms stated here, by its entry."""

    __tablename__ = "settlements"
    __table_args__ = (
        UniqueConstraint("run", "attempt"),
        CheckConstraint("attempt >= 1", name="attempts_are_counted_from_one"),
        CheckConstraint("mode IN ('pool', 'rate')", name="a_settlement_divides_a_pool_or_pays_a_rate"),
        CheckConstraint("negative IN ('floor', 'carry')", name="negative_values_are_floored_or_carried"),
        CheckConstraint("fee_basis_points BETWEEN 0 AND 10000", name="a_fee_is_0_to_10000_basis_points"),
        CheckConstraint(column("amount", ExactInteger()) > 0, name="an_amount_is_positive"),
    )
    entry: int = Field(sa_column=Column(Integer, ForeignKey("entries.sequence"), primary_key=True, autoincrement=False))
    funding: int | None = Field(default=None, foreign_key="entries.sequence", unique=True)
    run: str = Field(foreign_key="runs.id")
    attempt: int  # 1, and one more each time that the one before was reversed
    mode: str
    asset: str = Field(sa_column=Column(String, ForeignKey("commodities.code"), nullable=False))
    amount: int = Field(
        sa_column=Column(ExactInteger(), nullable=False)
    )  # minor units: the pool, or the price of a nat
    negative: str
    fee_basis_points: int
    partial: bool


REGISTRY: tuple[type[RegistryRow], ...] = (
    Setting,
    Commodity,
    Contributor,
    Dataset,
    Consent,
    Objective,
    ObjectiveTask,
)
