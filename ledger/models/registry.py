"""The registry: what amounts are counted in, who supplied what, with whose consent, and what runs are measured on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Integer, LargeBinary, UniqueConstraint
from sqlmodel import Field

from ledger.models.base import RegistryRow, Row, entry_key, is_instant, is_sha256, made_by


class Commodity(RegistryRow, table=True):
    """What amounts are counted in: nats (exponent 12), currencies and tokens."""

    entry_kind: ClassVar[str] = "commodity"
    __tablename__ = "commodities"
    __table_args__ = (CheckConstraint("exponent BETWEEN 0 AND 18", name="an_exponent_is_0_to_18"),)
    code: str = Field(primary_key=True)
    exponent: int
    entry: int = made_by()

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
    entry: int = made_by()

    def subject(self) -> str:
        """Its name."""
        return self.name

    def payload(self) -> Mapping[str, Any]:
        """Name and value."""
        return {"name": self.name, "value": self.value}


class Contributor(RegistryRow, table=True):
    """Whoever supplies data or is paid for it. What they are called lies outside the hashes (`PersonalData`)."""

    entry_kind: ClassVar[str] = "contributor"
    __tablename__ = "contributors"
    __table_args__ = (
        CheckConstraint("length(id) BETWEEN 1 AND 64 AND id = lower(id)", name="an_id_is_short_and_lower_case"),
        is_sha256("name_commitment", "a_commitment_is_a_sha256"),
    )
    id: str = Field(primary_key=True)
    name_commitment: str  # SHA-256 of a salt and the name
    entry: int = made_by()

    def subject(self) -> str:
        """Its id."""
        return self.id

    def payload(self) -> Mapping[str, Any]:
        """Its id, and what commits to its name."""
        return {"id": self.id, "name_commitment": self.name_commitment}


class PersonalData(Row, table=True):
    """What a commitment stands for. The one table whose rows may be deleted: without the salt nothing is left."""

    __tablename__ = "personal_data"
    contributor: str = Field(foreign_key="contributors.id", primary_key=True)
    name: str
    salt: str  # 32 random bytes, hexadecimal


class Estate(RegistryRow, table=True):
    """Who is paid in a contributor's stead, from this entry on: payees and the parts of the whole that each gets."""

    entry_kind: ClassVar[str] = "estate"
    __tablename__ = "estates"
    entry: int = entry_key()
    contributor: str = Field(foreign_key="contributors.id", index=True)
    payees: str  # canonical JSON: {"payee": parts, ...}; {} gives everything back to the contributor

    def subject(self) -> str:
        """The contributor."""
        return self.contributor

    def payload(self) -> Mapping[str, Any]:
        """Contributor and payees."""
        return {"contributor": self.contributor, "payees": self.payees}


class Group(RegistryRow, table=True):
    """Contributors who play as one, under a contributor id of the group's own, because their data is the same."""

    entry_kind: ClassVar[str] = "group"
    __tablename__ = "groups"
    entry: int = entry_key()
    id: str = Field(foreign_key="contributors.id", unique=True)
    members: str  # canonical JSON: a list of contributors
    why: str  # what was found, such as the similarity and its threshold

    def subject(self) -> str:
        """The group's id."""
        return self.id

    def payload(self) -> Mapping[str, Any]:
        """Id, members and why."""
        return {"id": self.id, "members": self.members, "why": self.why}


class Dataset(RegistryRow, table=True):
    """What a contributor supplied, known by the fingerprint of its records (`ledger/fingerprint.py`)."""

    entry_kind: ClassVar[str] = "dataset"
    __tablename__ = "datasets"
    __table_args__ = (
        is_sha256("fingerprint"),
        CheckConstraint("record_count > 0", name="a_dataset_has_a_record"),
        CheckConstraint("byte_count > 0", name="a_dataset_has_a_byte"),
        CheckConstraint("licence <> ''", name="a_dataset_has_a_licence"),
    )
    id: int | None = Field(default=None, sa_column=Column(Integer, primary_key=True, autoincrement=False))
    fingerprint: str = Field(unique=True)
    contributor: str = Field(foreign_key="contributors.id", index=True)
    name: str
    licence: str  # a normalised SPDX expression
    record_count: int = Field(sa_type=BigInteger)
    byte_count: int = Field(sa_type=BigInteger)  # UTF-8 bytes of the normalised records
    source: str  # canonical JSON: {"paths": [...], "text_field": ..., "encoding": ...}
    entry: int = made_by()

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
        is_instant("effective_at"),
    )
    entry: int = entry_key()
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
    entry: int = made_by()

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
        is_sha256("fingerprint"),
        CheckConstraint("record_count > 0", name="a_task_has_a_record"),
    )
    entry: int = entry_key()
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
