"""Roles on PostgreSQL: the application's reads the ledger and adds to it; its schema is its owner's alone."""

from __future__ import annotations

from sqlalchemy import Connection, text

from ledger.errors import ApplicationRoleError
from ledger.models import Row

HEAD, ERASABLE, VERSION = "head", "personal_data", "alembic_version"


def give(connection: Connection, role: str) -> None:
    """Let a role read all tables and add rows, move the head, and erase personal data; and nothing else.

    Raises `ApplicationRoleError` for a role that does not exist, and for one that no grant can limit.
    """
    found = connection.execute(
        text(
            "SELECT rolsuper, pg_has_role(rolname, current_user, 'MEMBER') AS owns FROM pg_roles WHERE rolname = :role"
        ),
        {"role": role},
    ).first()
    if found is None:
        raise ApplicationRoleError(role, "does not exist; make it first with CREATE ROLE … LOGIN")
    if found.rolsuper or found.owns:
        raise ApplicationRoleError(role, "may do everything already, as the owner does; give the ledger to another one")
    quote = connection.dialect.identifier_preparer.quote
    schema = quote(connection.execute(text("SELECT current_schema()")).scalar_one())
    grantee = quote(role)
    tables = ", ".join(quote(table.name) for table in Row.metadata.sorted_tables)
    for statement in (
        f"REVOKE ALL ON {tables}, {VERSION} FROM {grantee}",
        f"GRANT USAGE ON SCHEMA {schema} TO {grantee}",
        f"GRANT SELECT, INSERT ON {tables} TO {grantee}",
        f"GRANT SELECT ON {VERSION} TO {grantee}",
        f"GRANT UPDATE (count, hash) ON {HEAD} TO {grantee}",
        f"GRANT DELETE ON {ERASABLE} TO {grantee}",
    ):
        connection.exec_driver_sql(statement)


def given(connection: Connection) -> list[str]:
    """The roles that the ledger was given to."""
    if connection.dialect.name != "postgresql":
        return []
    query = (
        "SELECT DISTINCT pg_get_userbyid(grantee) FROM pg_class, aclexplode(relacl) "
        "WHERE oid = 'head'::regclass AND grantee NOT IN (0, relowner)"
    )
    return list(connection.execute(text(query)).scalars())
