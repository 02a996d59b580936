"""What the audit says of sound books, of records, of what was kept elsewhere, and how it says what it finds."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ledger import journal, registry
from ledger.audit import SHOWN_FAULTS, audit
from ledger.checks.other_valuations import OTHERS
from ledger.database import Ledger
from ledger.registry import Task
from ledger.valuation import book_run
from tests.ledger.records import synthetic_record
from tests.ledger.tampering import Original, faults, named


def failing(folder: Path) -> list[str]:
    with Ledger.open(folder / "books.db") as books, books.reading() as session:
        return faults(session)


def test_untouched_books_pass_every_check(original: Original) -> None:
    with original.session() as session:
        result = audit(session)
        assert [check for check in result.checks if not check.ok] == []
        assert result.ok
        assert len({check.name for check in result.checks}) == len(result.checks) > 25
        assert (result.entries, result.head) == journal.head(session)
        assert json.loads(json.dumps(result.as_json()))["ok"] is True


def test_a_dropped_trigger_is_named(folder: Path) -> None:
    with sqlite3.connect(folder / "books.db") as connection:
        connection.execute("DROP TRIGGER postings_refuse_update")
    named(failing(folder), "append-only triggers", "postings_refuse_update", "missing")


def test_a_disarmed_trigger_is_named(folder: Path) -> None:
    with sqlite3.connect(folder / "books.db") as connection:
        connection.execute("DROP TRIGGER entries_refuse_delete")
        connection.execute("CREATE TRIGGER entries_refuse_delete BEFORE DELETE ON entries BEGIN SELECT 1; END")
        connection.execute("CREATE TRIGGER helper AFTER INSERT ON entries BEGIN SELECT 1; END")
    named(failing(folder), "append-only triggers", "entries_refuse_delete", "not the ledger's own")
    named(failing(folder), "append-only triggers", "helper")


# Records of runs


@pytest.mark.parametrize("file", ["steps.parquet", "values.parquet", "manifest.json", "identity"])
def test_a_changed_byte_of_a_record_is_named_by_its_file(folder: Path, file: str) -> None:
    path = folder / "run-1" / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    named(failing(folder), "run records", "run-1")


def test_a_value_rewritten_in_the_parquet_file_is_found(folder: Path) -> None:
    path = folder / "run-0" / "values.parquet"
    table = pq.read_table(path)
    values = table["value_nats"].to_numpy().copy()
    values[0] += 1.0
    pq.write_table(table.set_column(2, "value_nats", pa.array(values)), path)
    named(failing(folder), "run records", "values.parquet")


def test_a_record_swapped_for_another_valid_one_is_found(folder: Path) -> None:
    shutil.rmtree(folder / "run-0")
    synthetic_record({"alice": [5.0]}).save(folder / "run-0")
    named(failing(folder), "run records", "another record")


@pytest.mark.parametrize(
    ("place", "check"), [("run-valued/valuations.parquet", "run records"), ("retrained/steps.parquet", OTHERS)]
)
def test_another_valuation_that_was_changed_where_it_is_stored_is_found(folder: Path, place: str, check: str) -> None:
    """Beside the run's own in its record, and in a record of its own."""
    path = folder / place
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    named(failing(folder), check, place)


def test_another_valuation_whose_record_was_made_anew_is_found(folder: Path) -> None:
    values = {"alice": [1.0, 1.0], "bob": [0.0, 0.0], "carol": [0.0, 0.0]}
    options: dict[str, Any] = {"tasks": ("sport", "business"), "weights": (0.25, 0.75), "steps": 1}
    made = synthetic_record(values, **options, house=(0, 0), gap=(0, 0), method={"name": "retraining"})
    shutil.rmtree(folder / "retrained")
    made.save(folder / "retrained")
    named(failing(folder), OTHERS, "retrained holds another record")


def test_a_missing_record_is_found(folder: Path) -> None:
    shutil.rmtree(folder / "run-2")
    named(failing(folder), "run records", "run-2")


def test_a_record_that_fails_an_axiom_is_found_though_it_was_booked(
    tmp_path: Path, staffed: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = synthetic_record({"alice": [0.5], "bob": [0.25]}, rows={"bob": 0})
    with monkeypatch.context() as patch:
        patch.setattr("ledger.valuation.check_axioms", lambda record, identical: [])
        with staffed.writing() as session:
            book_run(session, record.save(tmp_path / "run"))
    with staffed.reading() as session:
        found = [check for check in audit(session).checks if not check.ok]
    assert [check.name for check in found] == ["axioms"]
    assert "null player" in found[0].detail


# What happens later changes nothing


def test_consent_that_was_withdrawn_after_the_settlement_does_not_undo_it(original: Original) -> None:
    with original.session() as session:
        registry.withdraw_consent(session, registry.datasets(session, "bob")[0].fingerprint, "2026-02-01")
        assert faults(session) == []


def test_a_later_objective_of_the_same_tasks_changes_nothing(original: Original) -> None:
    with original.session() as session:
        tasks = [Task("sport", ["held out"], [], weight="1"), Task("business", ["and this"], [], weight="3")]
        registry.add_objective(session, "another-news", tasks)
        assert faults(session) == []


# What was kept elsewhere


def test_a_tail_cut_off_with_its_head_is_found_by_a_checkpoint(files: Original) -> None:
    with files.session() as session:
        registry.withdraw_consent(session, registry.datasets(session, "bob")[0].fingerprint, "2026-06-01")
        checkpoint = audit(session).head
        with files.tampering(session) as connection:
            for table, column in (("consents", "entry"), ("entries", "sequence")):
                connection.exec_driver_sql(f"DELETE FROM {table} WHERE {column} = (SELECT max(sequence) FROM entries)")
            connection.exec_driver_sql(
                "UPDATE head SET count = count - 1, hash = (SELECT hash FROM entries ORDER BY sequence DESC LIMIT 1)"
            )
        assert faults(session) == []  # told consistently, another story passes: that is what a checkpoint is for
        named(faults(session, expect_head=checkpoint), "head", "no entry has the expected hash")


def test_an_older_checkpoint_still_holds_after_new_entries(original: Original) -> None:
    with original.session() as session:
        checkpoint = audit(session).head
        registry.add_contributor(session, "dave")
        assert faults(session, expect_head=checkpoint) == []


def test_a_flood_of_faults_is_cut_short(files: Original) -> None:
    with files.session() as session:
        with files.tampering(session) as connection:
            for number in range(200):
                connection.exec_driver_sql(
                    "INSERT INTO accounts VALUES (?, 'EUR', 'payable', NULL, 'credit', NULL, 28)",
                    (f"account {number}",),
                )
        found = [fault for fault in faults(session) if fault.startswith("accounts: ")]
        assert len(found) == SHOWN_FAULTS + 1
        assert found[-1] == "accounts: and 150 more"


def test_the_audit_reads_a_ledger_of_one_run_in_a_single_view(staffed: Ledger, book: Callable[..., Any]) -> None:
    with staffed.writing() as session:
        booked = book(session, {"alice": 0.5, "bob": 0.25})
        assert np.all(np.array([part.rows for part in booked.valuation.contributors]) == 12)
    with staffed.reading() as session:
        assert audit(session).ok
