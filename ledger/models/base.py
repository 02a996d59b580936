"""What all tables share: one metadata, names for constraints, and the tie between a registry row and its entry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, ForeignKeyConstraint, MetaData
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
INSTANT_LENGTH = 27  # of the text that `ledger/instants.py` makes


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


def made_by() -> Any:
    """A column that names the entry which made the row, where one entry makes one row."""
    return Field(sa_column=Column(BigInteger, ForeignKey("entries.sequence"), nullable=False, unique=True))


def entry_key() -> Any:
    """The same column where it is the row's key."""
    return Field(sa_column=Column(BigInteger, ForeignKey("entries.sequence"), primary_key=True, autoincrement=False))


def to_account(account: str, commodity: str) -> ForeignKeyConstraint:
    """A reference to an account, which is named by two columns."""
    return ForeignKeyConstraint([account, commodity], ["accounts.name", "accounts.commodity"])


def is_sha256(column: str, name: str = "a_fingerprint_is_a_sha256") -> CheckConstraint:
    """That a column holds 64 characters, as a hexadecimal SHA-256 does."""
    return CheckConstraint(f"length({column}) = 64", name=name)


def is_instant(column: str) -> CheckConstraint:
    """That a column holds an instant in its stored form, or nothing."""
    return CheckConstraint(f"length({column}) = {INSTANT_LENGTH}", name=f"{column}_is_utc_with_microseconds")
