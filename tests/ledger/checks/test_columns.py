"""Whatever is changed in place is found by the audit, which names the row: every column of every table."""

from typing import Any

import pytest
from sqlalchemy import Boolean, Column, Integer, LargeBinary, Table, delete, select, update

from ledger import journal
from ledger.exact_integer import ExactInteger
from ledger.models import Row
from tests.ledger.tampering import Original, faults

TABLES = {table.name: table for table in Row.metadata.sorted_tables}
COLUMNS = [(table.name, column.name) for table in TABLES.values() for column in table.columns]

# Which check names a changed row of a table, and by what words; a column of its own where it is another one. What
# belongs to an entry is named by the entry's number. A new table fails until it is here.
REGISTERED = ("registry", "entry {entry}")
NAMED: dict[str, tuple[str, str]] = {
    "entries": ("entry content", "entry {sequence} ("),
    "entries.sequence": ("entry sequence", "entry {sequence} missing"),
    **dict.fromkeys(
        ("entries.recorded_at", "entries.event_at", "entries.key", "entries.previous", "entries.hash"),
        ("hash chain", "entry {sequence} ("),
    ),
    "parts": ("entry content", "entry {entry} ("),
    "parts.entry": ("entry sequence", "part {number} of entry"),
    "parts.number": ("entry sequence", "entry {entry}: its parts"),
    "postings": ("entry content", "entry {entry} ("),
    "postings.entry": ("entry sequence", "posting {line} of entry"),
    "postings.line": ("entry sequence", "entry {entry}: its postings"),
    "postings.balance": ("account balances", "entry {entry}, posting {line}: {account} "),
    "head": ("head", "the head"),
    "accounts": ("accounts", "account '{name}' in {commodity}"),
    "personal_data": ("names", "'{contributor:.3}"),
    "dataset_records": ("dataset records", "dataset"),
    "runs": ("runs", "run {id:.12}"),
    "settlements": ("settlements", "entry {entry}"),
    **dict.fromkeys(
        tuple(f"settlements.{column}" for column in ("amount", "partial", "fee_basis_points", "funding")),
        ("payouts", "entry {entry}"),
    ),
    "settled_runs": ("settlements", "entry {settlement}"),
    "holds": ("holds", "hold {id}"),
    "holds.id": ("holds", "entry {entry}: states hold {id} of"),
    "holds.entry": ("holds", "hold {id}: entry"),
    "hold_changes": ("holds", "entry {entry}"),
    **dict.fromkeys(
        (
            *("settings", "commodities", "contributors", "estates", "groups", "datasets", "consents"),
            *("objectives", "objective_tasks", "account_changes", "periods", "disputes", "resolutions"),
            *("distributors", "operators", "payout_addresses"),
        ),
        REGISTERED,
    ),
    "publications": ("publications", "publication {entry}: "),
    "leaves": ("publications", "publication {publication}: "),
    "publication_ends": ("ends of publications", "entry {entry}: "),
    "chain_claims": ("claims on chains", "entry {entry}"),
    "attempts": ("signed transactions", "attempt {id}: "),
    **dict.fromkeys(("attempts.id", "attempts.saved_at"), ("chain transactions", "attempt {id}: ")),
    "receipts": ("chain transactions", "receipt {id}: "),
}


def key_of(table: Table, row: Any) -> Any:
    return [column == getattr(row, column.name) for column in table.primary_key]


def a_row(session: Any, table: Table, which: str) -> Any:
    order = [column if which == "first" else column.desc() for column in table.primary_key]
    return session.connection().execute(select(table).order_by(*order).limit(1)).one()


def another(column: Column[Any], value: Any, which: str) -> Any:
    """A value that the column could hold, but not this one, nor that of another row."""
    if isinstance(column.type, Boolean):
        return not value
    if isinstance(value, int):
        return value + (10_000 if column.foreign_keys or (which == "first" and column.primary_key) else 1)
    if isinstance(value, bytes):
        return bytes([value[0] ^ 1]) + value[1:]
    if isinstance(value, str):
        return value[:-1] + ("0" if value[-1:] != "0" else "1")
    assert value is None
    if isinstance(column.type, Integer | ExactInteger):
        return 1
    return "2020-01-01T00:00:00.000000Z" if column.name.endswith("_at") else "something"


def test_the_books_have_a_row_in_every_table_and_pass_every_check(original: Original) -> None:
    with original.session() as session:
        assert faults(session) == []
        for table in TABLES.values():
            assert session.connection().execute(select(table).limit(1)).first() is not None, table.name


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_a_change_of_any_column_is_found_and_named(original: Original, table: str, column: str) -> None:
    check, words = NAMED.get(f"{table}.{column}") or NAMED[table]
    of, which = TABLES[table], original.looked_at
    with original.session() as session:
        row = a_row(session, of, which)
        value = another(of.columns[column], getattr(row, column), which)
        with original.tampering(session, table) as connection:
            assert connection.execute(update(of).where(*key_of(of, row)).values({column: value})).rowcount == 1
        found = faults(session)
        wanted = words.format(**row._mapping)
        assert any(fault.startswith(f"{check}: ") and wanted in fault for fault in found), (wanted, found)


@pytest.mark.parametrize("table", TABLES)
def test_a_deleted_row_is_found_except_an_erased_name(original: Original, table: str) -> None:
    of = TABLES[table]
    with original.session() as session:
        row = a_row(session, of, original.looked_at)
        with original.tampering(session) as connection:
            assert connection.execute(delete(of).where(*key_of(of, row))).rowcount == 1
        assert bool(faults(session)) == (table != "personal_data")


def junk_for(column: Column[Any]) -> list[Any]:
    """What SQLite would store in a column though it is of another type, or no amount."""
    if column.primary_key and type(column.type) is Integer and len(column.table.primary_key) == 1:
        return []  # the row's own number, which is the one thing that takes nothing else
    if isinstance(column.type, LargeBinary):
        return ["junk"]
    if isinstance(column.type, ExactInteger):
        return ["12", "p" + "9" * 200]
    return ["junk"] if isinstance(column.type, Integer | Boolean) else [b"\x00\xff"]


JUNK = [
    (table.name, column.name, junk)
    for table in TABLES.values()
    for column in table.columns
    for junk in junk_for(column)
]


@pytest.mark.parametrize(("table", "column", "junk"), JUNK)
def test_junk_in_any_column_is_found_and_stops_nothing(files: Original, table: str, column: str, junk: Any) -> None:
    """SQLite stores anything anywhere, where PostgreSQL takes nothing but what a column holds."""
    key = "hash" if table == "dataset_records" else "rowid"
    with files.session() as session:
        with files.tampering(session) as connection:
            newest = f"{key} = (SELECT max({key}) FROM {table})"
            connection.exec_driver_sql(f"UPDATE {table} SET {column} = ? WHERE {newest}", (junk,))
        assert faults(session)


def test_a_number_that_is_none_on_a_server_is_found(servers: Original) -> None:
    """NUMERIC takes NaN, which is above zero there."""
    with servers.session() as session:
        with servers.tampering(session) as connection:
            connection.exec_driver_sql(
                "UPDATE postings SET amount = 'NaN' WHERE entry = (SELECT max(entry) FROM postings)"
            )
        entry = journal.head(session)[0]
        found = faults(session)
        assert any(fault.startswith(f"entry content: entry {entry}, posting 1:") and "NaN" in fault for fault in found)
