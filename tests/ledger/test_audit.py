import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlmodel import Session, select

from ledger import journal, registry, settlement
from ledger.audit import SHOWN_FAULTS, Audit, audit
from ledger.database import Ledger
from ledger.exact_integer import encode
from ledger.models import Entry, Row, Run
from ledger.money import Amount
from ledger.policies.terms import Terms
from ledger.registry import Task
from ledger.settlement import settle
from ledger.valuation import book_run
from tests.ledger.records import synthetic_record

COLUMNS = [(table.name, column.name) for table in Row.metadata.sorted_tables for column in table.columns]
TABLES = [table.name for table in Row.metadata.sorted_tables]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with books in which everything has happened: every table has rows, and debts were carried and netted."""
    folder = tmp_path_factory.mktemp("original")
    with Ledger.create(folder / "books.db") as books, books.writing() as session:
        _fill(session, folder)
    return folder


def _fill(session: Session, folder: Path) -> None:
    for name in ("alice", "bob", "carol"):
        registry.add_contributor(session, name, name.title())
        records = [f"{name} one", f"{name} two", f"{name} two", "shared"]
        options = {"name": f"{name}'s texts", "licence": "CC-BY-4.0", "consent_given_at": "2026-01-01"}
        registry.register_dataset(session, name, records, paths=[f"data/{name}"], **options)
    tasks = [
        Task("sport", ["held out"], ["sport"], weight="1"),
        Task("business", ["and this"], ["business"], weight="3"),
    ]
    objective = registry.add_objective(session, "news", tasks)
    data = {name: [registry.datasets(session, name)[0].fingerprint] for name in ("alice", "bob", "carol")}
    runs = []
    for number, values in enumerate(
        [
            {"alice": [0.5, 0.25], "bob": [-0.25, -0.125], "carol": [0.0, 0.0]},
            {"alice": [0.25, 0.25], "bob": [0.5, 0.25], "carol": [0.125, 0.125]},
            {"alice": [0.125, 0.5], "bob": [0.25, 0.5], "carol": [0.125, 0.25]},
        ]
    ):
        record = synthetic_record(
            values,
            tasks=("sport", "business"),
            weights=(0.25, 0.75),
            house=(0.01, -0.005),
            gap=(1e-4, -2e-4),
            ended_at="2026-03-01T13:00:00Z",
            data=data,
            objective={task.task: task.fingerprint for task in objective.tasks},
            number=number,
        )
        runs.append(book_run(session, record.save(folder / f"run-{number}")).run)
    settle(session, runs[0].id, Terms("rate", Amount.parse("1000.00 EUR"), "carry", fee_basis_points=100))
    settle(session, runs[1].id, Terms("pool", Amount.parse("500.00 EUR")))
    settle(session, runs[2].id, Terms("pool", Amount.parse("1 EUR")))
    settlement.reverse(session, runs[2].id, "wrong budget")
    settle(session, runs[2].id, Terms("pool", Amount.parse("1.00 USDC", exponent=6), fee_basis_points=250))
    registry.withdraw_consent(session, data["carol"][0], "2026-06-01")


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "copy"))


@contextmanager
def tampering(folder: Path) -> Iterator[sqlite3.Connection]:
    """A connection for which no rule holds; the triggers are put back after, so that only the change is left."""
    connection = sqlite3.connect(folder / "books.db")
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("PRAGMA ignore_check_constraints = ON")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("BEGIN")
    triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    yield connection
    for _, sql in triggers:
        connection.execute(sql)
    connection.commit()
    connection.close()


def audited(folder: Path, **options: Any) -> Audit:
    with Ledger.open(folder / "books.db") as books, books.reading() as session:
        return audit(session, **options)


def faults(folder: Path, **options: Any) -> list[str]:
    return [f"{check.name}: {check.detail}" for check in audited(folder, **options).checks if not check.ok]


def named(folder: Path, check: str, *words: str) -> None:
    """Asserts that a check of this name fails and names these."""
    found = faults(folder)
    assert any(fault.startswith(f"{check}: ") and all(word in fault for word in words) for fault in found), found


def test_untouched_books_pass_every_check(folder: Path) -> None:
    result = audited(folder)
    assert result.ok
    assert all(check.ok for check in result.checks), result.checks
    assert len({check.name for check in result.checks}) == len(result.checks) == 21
    with Ledger.open(folder / "books.db") as books, books.reading() as session:
        assert (result.entries, result.head) == journal.head(session)
    assert json.loads(json.dumps(result.as_json()))["ok"] is True


def test_the_example_has_a_row_in_every_table(folder: Path) -> None:
    with sqlite3.connect(folder / "books.db") as connection:
        for table in TABLES:
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0], table


@pytest.mark.parametrize(("table", "column"), COLUMNS)
@pytest.mark.parametrize("which", ["first", "last"])
def test_a_change_of_any_column_is_found(folder: Path, table: str, column: str, which: str) -> None:
    order = ", ".join(c.name for c in Row.metadata.tables[table].primary_key)
    order = order if which == "first" else ", ".join(f"{name} DESC" for name in order.split(", "))
    key = [c.name for c in Row.metadata.tables[table].primary_key]
    where = " AND ".join(f"{name} IS ?" for name in key)
    with tampering(folder) as connection:
        chosen = connection.execute(
            f"SELECT {', '.join(key)}, {column} FROM {table} ORDER BY {order} LIMIT 1"
        ).fetchone()
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (_other(chosen[-1]), *chosen[:-1]))
    assert not audited(folder).ok


def _other(value: Any) -> Any:
    if value is None:
        return 1
    if isinstance(value, int):
        return value + 10_000
    if isinstance(value, bytes):
        return bytes([value[0] ^ 1]) + value[1:]
    return value[:-1] + ("0" if value[-1:] != "0" else "1")


@pytest.mark.parametrize("junk", [b"\x00\xff", "junk"])
@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_junk_in_any_column_is_found_and_stops_nothing(folder: Path, table: str, column: str, junk: Any) -> None:
    with tampering(folder) as connection:
        one = connection.execute(f"SELECT max({column}) FROM {table}").fetchone()[0]
        try:
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE {column} IS ?", (junk, one))
        except sqlite3.IntegrityError:
            return  # an integer key takes nothing else, or every row now has the same key
    assert not audited(folder).ok


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("which", ["min", "max"])
def test_a_deleted_row_is_found(folder: Path, table: str, which: str) -> None:
    key = next(iter(Row.metadata.tables[table].primary_key)).name
    with tampering(folder) as connection:
        connection.execute(f"DELETE FROM {table} WHERE {key} = (SELECT {which}({key}) FROM {table})")
    assert not audited(folder).ok


TAMPERINGS = [
    (
        "an amount",
        f"UPDATE postings SET amount = '{encode(1)}' WHERE account = 'payable:alice'",
        "payouts",
        "payable:alice",
    ),
    (
        "a side",
        "UPDATE postings SET side = 'debit' WHERE account = 'value:alice' AND entry = {run0}",
        "entry balances",
        "entry {run0}",
    ),
    (
        "whose payable",
        "UPDATE postings SET account = 'payable:bob' WHERE account = 'payable:alice'",
        "entry content",
        "settlement",
    ),
    (
        "a value in nats",
        f"UPDATE postings SET amount = '{encode(7)}' WHERE account = 'value:bob'",
        "valuations",
        "value:bob",
    ),
    ("an amount that is none", "UPDATE postings SET amount = '12' WHERE account = 'house'", "entry content", "'12'"),
    (
        "a payload",
        "UPDATE entries SET payload = replace(payload, 'alice', 'eve') WHERE kind = 'settlement'",
        "entry content",
        "settlement",
    ),
    (
        "a time",
        "UPDATE entries SET recorded_at = '2020-01-01T00:00:00.000000Z' WHERE sequence = 3",
        "hash chain",
        "entry 3",
    ),
    ("a key", "UPDATE entries SET key = 'x' WHERE sequence = 4", "hash chain", "entry 4"),
    (
        "a reversal's target",
        "UPDATE entries SET reverses = 3 WHERE reverses = (SELECT min(reverses) FROM entries)",
        "reversals",
        "entry 3",
    ),
    ("a deleted entry", "DELETE FROM entries WHERE sequence = 5", "entry sequence", "entry 5 missing"),
    (
        "the last entry deleted",
        "DELETE FROM entries WHERE sequence = (SELECT max(sequence) FROM entries)",
        "head",
        "counts",
    ),
    ("a deleted posting", "DELETE FROM postings WHERE account = 'fee'", "payouts", "fee"),
    ("a licence", "UPDATE datasets SET licence = 'MIT' WHERE contributor = 'bob'", "registry", "licence is 'MIT'"),
    ("a dataset's owner", "UPDATE datasets SET contributor = 'carol' WHERE contributor = 'bob'", "registry", "'carol'"),
    (
        "a fingerprint",
        "UPDATE datasets SET fingerprint = '" + "0" * 64 + "' WHERE contributor = 'bob'",
        "registry",
        "0" * 64,
    ),
    ("a record count", "UPDATE datasets SET record_count = 9 WHERE contributor = 'bob'", "dataset records", "not 9"),
    ("a byte count", "UPDATE datasets SET byte_count = 9 WHERE contributor = 'bob'", "registry", "byte_count"),
    (
        "a record hash",
        "UPDATE dataset_records SET hash = zeroblob(32) WHERE dataset = 1 AND copies = 2",
        "dataset records",
        "another fingerprint",
    ),
    ("copies of a record", "UPDATE dataset_records SET copies = 5 WHERE copies = 2", "dataset records", "holds 7"),
    (
        "a consent date",
        "UPDATE consents SET effective_at = '2020-01-01T00:00:00.000000Z' WHERE change = 'given'",
        "registry",
        "consent",
    ),
    (
        "consent after the run began",
        "UPDATE consents SET effective_at = '2026-05-01T00:00:00.000000Z' WHERE change = 'given'",
        "consent",
        "no consent",
    ),
    ("a withdrawal", "DELETE FROM consents WHERE change = 'withdrawn'", "registry", "missing"),
    (
        "a task's weight",
        "UPDATE objective_tasks SET weight = '2' WHERE task = 'sport'",
        "valuations",
        "cannot be valued again",
    ),
    ("a deleted task", "DELETE FROM objective_tasks WHERE task = 'sport'", "registry", "has 1 tasks"),
    ("the tolerance", "UPDATE settings SET value = '0.9'", "registry", "tolerance"),
    ("a tolerance too small", "UPDATE settings SET value = '0.00001'", "settlement rules", "gap"),
    ("a run's path", "UPDATE runs SET path = 'run-1' WHERE path = 'run-0'", "run records", "another record"),
    ("a run's beginning", "UPDATE runs SET began_at = '2026-07-01T00:00:00.000000Z'", "runs", "began_at"),
    ("a run's completeness", "UPDATE runs SET complete = 0 WHERE path = 'run-0'", "runs", "complete is False"),
    ("a settlement of a partial run", "UPDATE settlements SET partial = 1 WHERE mode = 'rate'", "payouts", "partial"),
    ("a tolerance that is none", "UPDATE settings SET value = 'much'", "settlement rules", "'much'"),
    ("a task's weight that is none", "UPDATE objective_tasks SET weight = 'x'", "valuations", "'x'"),
    (
        "a count of another type",
        "UPDATE datasets SET byte_count = 1.5 WHERE id = 1",
        "stored types",
        "datasets (id) = (1): byte_count",
    ),
    ("a run's improvement", f"UPDATE runs SET improvement = '{encode(5)}'", "runs", "improvement is 5"),
    ("a deleted run", "DELETE FROM runs WHERE path = 'run-1'", "runs", "is missing"),
    (
        "a settlement's pool",
        f"UPDATE settlements SET amount = '{encode(49999)}' WHERE amount = '{encode(50000)}'",
        "payouts",
        "amount",
    ),
    (
        "a settlement's treatment",
        "UPDATE settlements SET negative = 'floor' WHERE negative = 'carry'",
        "payouts",
        "'bob'",
    ),
    (
        "a settlement's fee",
        "UPDATE settlements SET fee_basis_points = 0 WHERE fee_basis_points = 250",
        "payouts",
        "fee",
    ),
    ("a settlement's mode", "UPDATE settlements SET mode = 'rate' WHERE mode = 'pool'", "totals", "a nat times"),
    (
        "a settlement's run",
        "UPDATE settlements SET run = '{run1}', attempt = 9 WHERE mode = 'rate'",
        "settlements",
        "not its entry",
    ),
    ("a deleted settlement", "DELETE FROM settlements WHERE mode = 'rate'", "settlements", "missing"),
    ("an asset's exponent", "UPDATE commodities SET exponent = 2 WHERE code = 'USDC'", "registry", "exponent"),
    ("a contributor's name", "UPDATE contributors SET name = 'Eve' WHERE id = 'alice'", "registry", "'Eve'"),
    (
        "an account's owner",
        "UPDATE accounts SET contributor = 'bob' WHERE name = 'payable:alice'",
        "accounts",
        "payable:alice",
    ),
    (
        "a broken rule of the schema",
        "UPDATE postings SET side = 'gift' WHERE account = 'fee'",
        "database integrity",
        "CHECK",
    ),
    ("a row without its parent", "DELETE FROM contributors WHERE id = 'carol'", "database integrity", "contributors"),
]


@pytest.mark.parametrize(
    ("sql", "check", "word"), [case[1:] for case in TAMPERINGS], ids=[case[0] for case in TAMPERINGS]
)
def test_tampering_is_named(folder: Path, sql: str, check: str, word: str) -> None:
    with Ledger.open(folder / "books.db") as books, books.reading() as session:
        runs = session.exec(select(Run).order_by(Run.path)).all()  # type: ignore[arg-type]
        for number, run in enumerate(runs):
            sql = sql.replace(f"'{{run{number}}}'", f"'{run.id}'").replace(f"{{run{number}}}", str(run.entry))
            word = word.replace(f"{{run{number}}}", str(run.entry))
    with tampering(folder) as connection:
        assert connection.execute(sql).rowcount
    named(folder, check, word)


def test_a_dropped_trigger_is_named(folder: Path) -> None:
    with sqlite3.connect(folder / "books.db") as connection:
        connection.execute("DROP TRIGGER postings_refuse_update")
    named(folder, "append-only triggers", "postings_refuse_update", "missing")


def test_a_disarmed_trigger_is_named(folder: Path) -> None:
    with sqlite3.connect(folder / "books.db") as connection:
        connection.execute("DROP TRIGGER entries_refuse_delete")
        connection.execute("CREATE TRIGGER entries_refuse_delete BEFORE DELETE ON entries BEGIN SELECT 1; END")
        connection.execute("CREATE TRIGGER helper AFTER INSERT ON entries BEGIN SELECT 1; END")
    named(folder, "append-only triggers", "entries_refuse_delete", "not the ledger's own")
    named(folder, "append-only triggers", "helper")


@pytest.mark.parametrize("file", ["steps.parquet", "values.parquet", "manifest.json", "identity"])
def test_a_changed_byte_of_a_record_is_named_by_its_file(folder: Path, file: str) -> None:
    path = folder / "run-1" / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    named(folder, "run records", "run-1")


def test_a_value_rewritten_in_the_parquet_file_is_found(folder: Path) -> None:
    path = folder / "run-0" / "values.parquet"
    table = pq.read_table(path)
    values = table["value_nats"].to_numpy().copy()
    values[0] += 1.0
    pq.write_table(table.set_column(2, "value_nats", pa.array(values)), path)
    named(folder, "run records", "values.parquet")


def test_a_record_swapped_for_another_valid_one_is_found(folder: Path) -> None:
    shutil.rmtree(folder / "run-0")
    synthetic_record({"alice": [5.0]}).save(folder / "run-0")
    named(folder, "run records", "another record")


def test_a_missing_record_is_found(folder: Path) -> None:
    shutil.rmtree(folder / "run-2")
    named(folder, "run records", "run-2")


def test_a_record_that_fails_an_axiom_is_found_though_it_was_booked(
    tmp_path: Path, staffed: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = synthetic_record({"alice": [0.5], "bob": [0.25]}, rows={"bob": 0})
    monkeypatch.setattr("ledger.valuation.check_axioms", lambda record, identical: [])
    with staffed.writing() as session:
        book_run(session, record.save(tmp_path / "run"))
        found = [check for check in audit(session).checks if not check.ok]
    assert [check.name for check in found] == ["axioms"]
    assert "null player" in found[0].detail


def test_consent_that_was_withdrawn_after_the_settlement_does_not_undo_it(folder: Path) -> None:
    with Ledger.open(folder / "books.db") as books, books.writing() as session:
        registry.withdraw_consent(session, registry.datasets(session, "bob")[0].fingerprint, "2026-02-01")
    assert audited(folder).ok


def test_a_later_objective_of_the_same_tasks_changes_nothing(folder: Path) -> None:
    with Ledger.open(folder / "books.db") as books, books.writing() as session:
        tasks = [Task("sport", ["held out"], [], weight="1"), Task("business", ["and this"], [], weight="3")]
        registry.add_objective(session, "another-news", tasks)
    assert audited(folder).ok


def test_a_tail_cut_off_with_its_head_is_found_by_a_checkpoint(folder: Path) -> None:
    checkpoint = audited(folder).head
    with tampering(folder) as connection:
        connection.execute("DELETE FROM consents WHERE change = 'withdrawn'")
        connection.execute("DELETE FROM entries WHERE sequence = (SELECT max(sequence) FROM entries)")
        connection.execute(
            "UPDATE head SET count = count - 1, hash = (SELECT hash FROM entries ORDER BY sequence DESC LIMIT 1)"
        )
    assert audited(folder).ok  # told consistently, another story passes: that is what a checkpoint is for
    assert any("no entry has the expected hash" in fault for fault in faults(folder, expect_head=checkpoint))


def test_an_older_checkpoint_still_holds_after_new_entries(folder: Path) -> None:
    checkpoint = audited(folder).head
    with Ledger.open(folder / "books.db") as books, books.writing() as session:
        registry.add_contributor(session, "dave")
    assert audited(folder, expect_head=checkpoint).ok


def test_a_rehashed_registry_row_still_contradicts_the_payouts(folder: Path) -> None:
    """A forger who rewrites a valuation entry and every hash after it still meets the record."""
    with Ledger.open(folder / "books.db") as books, books.reading() as session:
        entries = [
            (entry.sequence, entry.kind, entry.subject, entry.recorded_at, entry.key, entry.payload, entry.reverses)
            for entry in session.exec(select(Entry).order_by(Entry.sequence))  # type: ignore[arg-type]
        ]
        lines = {entry[0]: journal.lines_of(session, entry[0]) for entry in entries}
    previous = journal.GENESIS
    with tampering(folder) as connection:
        for sequence, kind, subject, recorded_at, key, stored, reverses in entries:
            payload = stored.replace('"rows":12', '"rows":11') if kind == "valuation" else stored
            content = journal.content_hash(kind, subject, payload, lines[sequence], reverses)
            hash = journal.entry_hash(sequence, recorded_at, key, content, previous)
            connection.execute(
                "UPDATE entries SET payload = ?, content = ?, previous = ?, hash = ? WHERE sequence = ?",
                (payload, content, previous, hash, sequence),
            )
            previous = hash
        connection.execute("UPDATE head SET hash = ?", (previous,))
    found = faults(folder)
    assert found
    assert all(fault.startswith("valuations: ") and "rows" in fault for fault in found), found


def test_an_entry_rewritten_with_its_own_hash_breaks_the_chain_after_it(folder: Path) -> None:
    with Ledger.open(folder / "books.db") as books, books.reading() as session:
        entry = journal.entry(session, 4)
    hash = journal.entry_hash(4, "2020-01-01T00:00:00.000000Z", entry.key, entry.content, entry.previous)
    with tampering(folder) as connection:
        connection.execute(
            "UPDATE entries SET recorded_at = '2020-01-01T00:00:00.000000Z', hash = ? WHERE sequence = 4", (hash,)
        )
    assert faults(folder) == ["hash chain: entry 5: does not follow the hash of the entry before it"]


def test_a_flood_of_faults_is_cut_short(folder: Path) -> None:
    with tampering(folder) as connection:
        for number in range(1000, 1200):
            connection.execute("INSERT INTO accounts VALUES (?, 'x', NULL)", (f"account {number}",))
    accounts = [check for check in audited(folder).checks if check.name == "accounts"]
    assert len(accounts) == SHOWN_FAULTS + 1
    assert accounts[-1].detail == "and 150 more"


def test_the_audit_reads_a_ledger_of_one_run_in_a_single_view(staffed: Ledger, book: Callable[..., Any]) -> None:
    with staffed.writing() as session:
        booked = book(session, {"alice": 0.5, "bob": 0.25})
        assert np.all(np.array([part.rows for part in booked.valuation.contributors]) == 12)
    with staffed.reading() as session:
        assert audit(session).ok
