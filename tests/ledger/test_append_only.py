"""What the database itself refuses, whichever program is connected to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, Integer, LargeBinary, text
from sqlalchemy.exc import IntegrityError

from ledger import bookkeeping, journal, triggers
from ledger.audit import audit
from ledger.database import Ledger
from ledger.exact_integer import BALANCE_DIGITS, DIGITS, ExactInteger, encode
from ledger.lines import credit, debit
from ledger.models import Row
from ledger.triggers import sqlite as sqlite_triggers

TABLES = Row.metadata.sorted_tables
REFUSED = (IntegrityError, sqlite3.IntegrityError)
OPEN = "(SELECT count + 1 FROM head)"
LAST = "(SELECT hash FROM head)"
NEW_HASH, OTHER_HASH = "'" + "e" * 64 + "'", "'" + "d" * 64 + "'"
Run = Callable[[str], Any]


@pytest.fixture
def filled(books: Ledger) -> Ledger:
    """100 nat of the buyer's in escrow, whose floor is 0, and in the fee's account, which is frozen; and, since a
    trigger of SQLite's looks at rows, a row in every table, however senseless.
    """
    with books.writing() as session:
        for account in ("escrow", "fee"):
            lines = [debit("buyer", "nat", 100), credit(account, "nat", 100)]
            journal.post(session, kind="test", subject="x", key=account, payload={}, lines=lines)
        bookkeeping.freeze(session, "fee", "nat", "a test")
    if books.engine.dialect.name == "sqlite":
        with closing(sqlite3.connect(books.place)) as connection, connection:
            connection.execute("PRAGMA ignore_check_constraints = ON")
            for table in TABLES:
                if table.name != "parts" and not connection.execute(f"SELECT count(*) FROM {table.name}").fetchone()[0]:
                    marks = ", ".join("?" for _ in table.columns)
                    row = [_anything(column) for column in table.columns]
                    connection.execute(f"INSERT INTO {table.name} VALUES ({marks})", row)
    return books


def _anything(column: Column[Any]) -> Any:
    if isinstance(column.type, ExactInteger):
        return encode(1, column.type.digits)
    return b"x" * 32 if isinstance(column.type, LargeBinary) else 1 if isinstance(column.type, Integer) else "x"


@contextmanager
def another_program(books: Ledger) -> Iterator[Run]:
    """Runs SQL on a connection without this program's settings; what it did is undone afterwards."""
    if books.engine.dialect.name == "sqlite":
        with closing(sqlite3.connect(books.place, isolation_level=None)) as connection:
            connection.execute("BEGIN")
            yield connection.execute
    else:
        with books.engine.connect() as server:
            yield lambda sql: server.execute(text(sql))


def refused(books: Ledger, words: str, *statements: str) -> None:
    """Asserts that the last statement is refused in these words, by another program's connection and by this one's."""
    with another_program(books) as run:
        for statement in statements[:-1]:
            run(statement)
        with pytest.raises(REFUSED, match=words):
            run(statements[-1])
    with books.engine.connect() as own:
        for statement in statements[:-1]:
            own.execute(text(statement))
        with pytest.raises(REFUSED, match=words):
            own.execute(text(statements[-1]))


def entry(sequence: str = OPEN, previous: str = LAST, key: str = "x", recorded_at: str = "recorded_at") -> str:
    """SQL that adds an entry."""
    return (
        "INSERT INTO entries (sequence, kind, subject, recorded_at, event_at, key, payload, content, previous, hash) "
        f"SELECT {sequence}, 'x', 'x', {recorded_at}, {recorded_at}, '{key}', '{{}}', hash, {previous}, {NEW_HASH} "
        "FROM entries WHERE sequence = (SELECT count FROM head)"
    )


def posting(books: Ledger, line: int, account: str, side: str, amount: int, balance: int, of: str = OPEN) -> str:
    """SQL that adds a posting."""
    if books.engine.dialect.name == "sqlite":
        stored = f"'{encode(amount)}', '{encode(balance, BALANCE_DIGITS)}'"
    else:
        stored = f"{amount}, {balance}"
    return f"INSERT INTO postings VALUES ({of}, {line}, '{account}', 'nat', '{side}', {stored})"


HEAD_MOVES = f"UPDATE head SET count = count + 1, hash = {NEW_HASH}"


def test_the_database_refuses_to_change_a_row_of_any_table(filled: Ledger) -> None:
    for table in TABLES:
        if table.name not in ("head", "parts"):
            column = next(iter(table.columns)).name
            refused(filled, f"{table.name} are never changed", f"UPDATE {table.name} SET {column} = {column}")


def test_the_database_refuses_to_delete_a_row_of_any_table(filled: Ledger) -> None:
    for table in TABLES:
        if table.name not in ("personal_data", "parts"):
            refused(filled, f"{table.name} are never deleted", f"DELETE FROM {table.name}")


def test_what_an_entry_says_of_a_contributor_is_never_changed_or_deleted(staffed: Ledger) -> None:
    with staffed.writing() as session:
        parts = [("alice", {"value": "1"})]
        journal.post(session, kind="test", subject="x", key="k", payload={}, parts=parts)
    refused(staffed, "parts are never changed", "UPDATE parts SET payload = '{}'")
    refused(staffed, "parts are never deleted", "DELETE FROM parts")
    refused(
        staffed,
        "parts are written with their entry",
        "INSERT INTO parts SELECT entry, 2, contributor, payload FROM parts",
    )


def test_insert_or_replace_is_refused_in_every_table(filled: Ledger) -> None:
    for table in TABLES:
        if table.name == "parts":
            continue
        if filled.engine.dialect.name == "sqlite":
            replace = f"INSERT OR REPLACE INTO {table.name} SELECT * FROM {table.name} LIMIT 1"
        else:
            key = [column.name for column in table.primary_key]
            change = f"DO UPDATE SET {key[0]} = excluded.{key[0]}"
            replace = (
                f"INSERT INTO {table.name} SELECT * FROM {table.name} LIMIT 1 ON CONFLICT ({', '.join(key)}) {change}"
            )
        refused(filled, f"^[^\n]*{table.name} ", replace)


def test_replacing_by_another_unique_key_is_refused_too(file_books: Ledger) -> None:
    replace = entry().replace("INSERT", "INSERT OR REPLACE", 1)
    refused(file_books, "never replaced", replace.replace(NEW_HASH, "hash"))
    refused(file_books, "never replaced", replace.replace("'x', '{}'", "key, '{}'"))


def test_truncate_is_refused_in_every_table(server_books: Ledger) -> None:
    for table in TABLES:
        refused(server_books, f"{table.name} are never deleted", f"TRUNCATE {table.name} CASCADE")


def test_personal_data_may_be_erased_and_nothing_else(staffed: Ledger) -> None:
    with another_program(staffed) as run:
        run("DELETE FROM personal_data WHERE contributor = 'alice'")
        assert run("SELECT count(*) FROM personal_data").fetchone()[0] == 2
    refused(staffed, "personal_data are never changed", "UPDATE personal_data SET name = 'Mallory'")


@pytest.mark.parametrize(
    "change",
    [
        "count = count - 1",
        "count = count + 2",
        "count = count",
        "count = count + 1",
        "count = count + 1, hash = (SELECT hash FROM entries WHERE sequence = 1)",
        "id = 2, count = count + 1",
        "hash = previous FROM entries WHERE sequence = count",
    ],
)
def test_the_head_only_moves_forward_to_the_next_entry(books: Ledger, change: str) -> None:
    refused(books, "head only moves forward", f"UPDATE head SET {change}")
    refused(books, "head only moves forward", entry(), f"UPDATE head SET {change}")


def test_the_head_moves_to_an_entry_that_was_appended(books: Ledger) -> None:
    with another_program(books) as run:
        run(entry())
        run(HEAD_MOVES)
        assert run("SELECT count, hash FROM head").fetchone()[1] == NEW_HASH.strip("'")


@pytest.mark.parametrize(
    ("sequence", "previous"),
    [
        ("(SELECT count FROM head) + 2", LAST),
        ("0", LAST),
        ("1000", LAST),
        (OPEN, "previous"),
        (OPEN, OTHER_HASH),
    ],
)
def test_entries_are_only_appended_to_the_last_one(books: Ledger, sequence: str, previous: str) -> None:
    refused(books, "entries are only appended", entry(sequence, previous))
    another = (
        entry(sequence, previous).replace("'x', '{}'", "'y', '{}'").replace(f"{NEW_HASH} FROM", f"{OTHER_HASH} FROM")
    )
    refused(books, "entries are only appended", entry(), HEAD_MOVES, another)


def test_entries_are_recorded_in_order(books: Ledger) -> None:
    early = entry(recorded_at="'2020-01-01T00:00:00.000000Z'")
    refused(books, "entries are only appended", early)


@pytest.mark.parametrize("of", ["1", "(SELECT count - 1 FROM head)", "(SELECT count FROM head)"])
def test_no_posting_is_added_to_an_entry_that_is_finished(filled: Ledger, of: str) -> None:
    words = "postings are written with their entry"
    refused(filled, words, posting(filled, 99, "escrow", "credit", 5, 105, of))
    refused(filled, words, entry(), posting(filled, 99, "escrow", "credit", 5, 105, of))


def test_no_posting_takes_an_account_below_its_floor(filled: Ledger) -> None:
    refused(filled, "below its floor", entry(), posting(filled, 1, "escrow", "debit", 101, -1))
    with another_program(filled) as run:
        run(entry())
        run(posting(filled, 1, "escrow", "debit", 100, 0))
        run(posting(filled, 2, "buyer", "credit", 2**256 - 1, 200 - 2**256 + 1))  # the buyer has no floor


def test_no_posting_touches_an_account_that_is_shut(filled: Ledger) -> None:
    refused(filled, "that is shut", entry(), posting(filled, 1, "fee", "credit", 1, 101))
    with filled.writing() as session:
        bookkeeping.free(session, "fee", "nat", "a test")
    with another_program(filled) as run:
        run(entry())
        run(posting(filled, 1, "fee", "credit", 1, 101))
    with filled.writing() as session:
        bookkeeping.close(session, "fee", "nat", "escrow", "a test")
    refused(filled, "that is shut", entry(), posting(filled, 1, "fee", "credit", 1, 1))


def test_no_entry_is_stored_whose_debits_and_credits_differ(filled: Ledger) -> None:
    stored = (entry(), posting(filled, 1, "buyer", "debit", 5, 205), posting(filled, 2, "escrow", "credit", 4, 104))
    refused(filled, "balance", *stored, HEAD_MOVES, *(["COMMIT"] if filled.engine.dialect.name != "sqlite" else []))


def test_no_balance_is_stored_that_is_not_the_one_before_and_the_amount(server_books: Ledger) -> None:
    with server_books.writing() as session:
        lines = [debit("buyer", "nat", 100), credit("escrow", "nat", 100)]
        journal.post(session, kind="test", subject="x", key="k", payload={}, lines=lines)
    stored = (entry(), posting(server_books, 1, "buyer", "credit", 5, 95))
    right, wrong = (posting(server_books, 2, "escrow", "debit", 5, balance) for balance in (95, 105))
    refused(server_books, "posting 2: its balance", *stored, wrong, HEAD_MOVES, "COMMIT")
    with another_program(server_books) as run:
        for statement in (*stored, right, HEAD_MOVES, "SET CONSTRAINTS ALL IMMEDIATE"):
            run(statement)


def test_no_entry_is_stored_without_the_head(server_books: Ledger) -> None:
    refused(server_books, "head is not at the last entry", entry(), "COMMIT")


def test_a_search_path_does_not_mislead_the_triggers(server_books: Ledger) -> None:
    shadow = "CREATE TEMPORARY TABLE head (count bigint, hash text)"
    path = "SET LOCAL search_path = pg_temp, public"
    misled = entry("99", "'x'").replace("(SELECT count FROM head)", "1")
    refused(server_books, "only appended", shadow, "INSERT INTO head VALUES (98, 'x')", path, misled)


AMOUNTS = st.integers(1, 2**256 - 1)


@given(st.lists(AMOUNTS, min_size=1, max_size=5), st.lists(AMOUNTS, max_size=3), st.integers(-2, 2))
def test_sqlites_long_subtraction_tells_sums_apart(debits: list[int], credits: list[int], off: int) -> None:
    rest = sum(debits) - sum(credits) + off
    lines = [("debit", amount) for amount in debits] + [("credit", amount) for amount in credits]
    while rest:
        amount = min(abs(rest), 10**DIGITS - 1)
        lines.append(("credit" if rest > 0 else "debit", amount))
        rest -= amount if rest > 0 else -amount
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE postings (entry, commodity, side, amount)")
        connection.executemany(
            "INSERT INTO postings VALUES (1, 'A', ?, ?)", [(side, encode(amount)) for side, amount in lines]
        )
        found = connection.execute(f"SELECT {sqlite_triggers.unbalanced('1')}").fetchone()[0]
    assert bool(found) == bool(off)


TAMPERED = {
    "sqlite": [
        ("DROP TRIGGER postings_refuse_update", "trigger postings_refuse_update on postings is missing"),
        (
            "DROP TRIGGER entries_refuse_delete; "
            "CREATE TRIGGER entries_refuse_delete BEFORE DELETE ON entries WHEN 0 BEGIN SELECT 1; END",
            "trigger entries_refuse_delete on entries is not the ledger's own",
        ),
        (
            "CREATE TRIGGER helper AFTER INSERT ON entries BEGIN SELECT 1; END",
            "trigger helper on entries does not belong to the ledger",
        ),
    ],
    "postgresql": [
        ("DROP TRIGGER postings_refuse_change ON postings", "trigger postings_refuse_change on postings is missing"),
        ("DROP TRIGGER entries_are_whole ON entries", "trigger entries_are_whole on entries is missing"),
        (
            "ALTER TABLE entries DISABLE TRIGGER entries_refuse_change",
            "trigger entries_refuse_change on entries is not the ledger's own",
        ),
        (
            "CREATE OR REPLACE TRIGGER head_moves_forward BEFORE INSERT ON head "
            "FOR EACH ROW EXECUTE FUNCTION ledger_head_moves_forward()",
            "trigger head_moves_forward on head is not the ledger's own",
        ),
        (
            "CREATE OR REPLACE FUNCTION ledger_refuse() RETURNS trigger LANGUAGE plpgsql "
            "AS $$ BEGIN RETURN NULL; END $$",
            "function ledger_refuse is not the ledger's own",
        ),
        (
            "ALTER FUNCTION ledger_entries_are_whole() SET search_path = pg_temp, public",
            "function ledger_entries_are_whole is not the ledger's own",
        ),
        (
            "CREATE SCHEMA other; CREATE FUNCTION other.ledger_refuse() RETURNS trigger LANGUAGE plpgsql "
            "AS $$ BEGIN RETURN NULL; END $$; SET search_path = other, public; "
            "CREATE OR REPLACE TRIGGER runs_refuse_change BEFORE DELETE OR UPDATE OR TRUNCATE ON public.runs "
            "FOR EACH STATEMENT EXECUTE FUNCTION other.ledger_refuse(); SET search_path = public",
            "trigger runs_refuse_change on runs is not the ledger's own",
        ),
        (
            "CREATE RULE quiet AS ON UPDATE TO entries DO INSTEAD NOTHING",
            "rule quiet on entries does not belong to the ledger",
        ),
        (
            "ALTER TABLE postings ENABLE ROW LEVEL SECURITY",
            "row security on postings does not belong to the ledger",
        ),
    ],
}


@pytest.mark.parametrize(
    ("database", "tampering", "fault"),
    [(database, *case) for database, cases in TAMPERED.items() for case in cases],
    ids=[f"{database}-{fault}" for database, cases in TAMPERED.items() for _, fault in cases],
)
def test_the_audit_finds_what_no_longer_guards_a_table(
    request: pytest.FixtureRequest, database: str, tampering: str, fault: str
) -> None:
    books: Ledger = request.getfixturevalue("file_books" if database == "sqlite" else "server_books")
    with books.engine.begin() as connection:
        for statement in tampering.split("; CREATE" if database == "sqlite" else "\0"):
            whole = statement if statement.startswith(("DROP", "CREATE", "ALTER")) else f"CREATE{statement}"
            connection.exec_driver_sql(whole)
    with books.reading() as session:
        assert fault in triggers.faults(session.connection())
        assert [check.detail for check in audit(session).checks if not check.ok] == [fault]
