"""The column type for text: sorted and compared by code point on every database, as Python does."""

from __future__ import annotations

from typing import Any

from sqlalchemy import String
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine


class Text(TypeDecorator[str]):
    """Text of any length.

    Another collation would make the order of the same rows depend on where a database was made; and an index in the
    order of a system's locale, such as that of the idempotency keys, no longer finds its rows after that changed.
    """

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """PostgreSQL's "C" collation; SQLite compares bytes anyway."""
        return dialect.type_descriptor(String(collation="C") if dialect.name == "postgresql" else String())
