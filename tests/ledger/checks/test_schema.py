import sqlite3
from contextlib import closing

import pytest

from ledger.audit import audit
from ledger.database import Ledger
from tests.ledger.server import Server


def faults(books: Ledger) -> list[str]:
    with books.reading() as session:
        return [f"{check.name}: {check.detail}" for check in audit(session).checks if not check.ok]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ("ALTER TABLE entries DROP CONSTRAINT uq_entries_key", "entries is not held to uq_entries_key"),
        (
            "DROP INDEX ix_postings_account_commodity_entry",
            "postings is not held to ix_postings_account_commodity_entry",
        ),
        (
            "ALTER TABLE postings DROP CONSTRAINT ck_postings_an_amount_is_positive, "
            "ADD CONSTRAINT ck_postings_an_amount_is_positive CHECK (amount > 0) NOT VALID",
            "postings is not held to ck_postings_an_amount_is_positive",
        ),
    ],
)
def test_a_rule_that_was_dropped_or_never_looked_at_old_rows_is_named(
    server_books: Ledger, change: str, fault: str
) -> None:
    with server_books.engine.begin() as connection:
        connection.exec_driver_sql(change)
    assert faults(server_books) == [f"database integrity: {fault}"]


def test_a_rule_that_was_taken_out_of_a_file_is_named(file_books: Ledger) -> None:
    with closing(sqlite3.connect(file_books.place)) as connection, connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = replace(sql, 'CONSTRAINT ck_postings_an_amount_is_positive ', '') "
            "WHERE name = 'postings'"
        )
    assert faults(file_books) == ["database integrity: postings is not held to ck_postings_an_amount_is_positive"]


def test_what_an_administrator_did_behind_the_rules_is_named(server_books: Ledger, server: Server) -> None:
    with server.connect(str(server_books.engine.url.database)) as administrator:
        administrator.execute("SET session_replication_role = replica")
        administrator.execute("UPDATE settings SET entry = 99 WHERE name = 'tolerance'")
    found = faults(server_books)
    assert "database integrity: settings (name) = (tolerance) refers to a row of entries that does not exist" in found
