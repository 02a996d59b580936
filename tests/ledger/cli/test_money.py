"""From a run record to what everybody is owed: import-run, settle, statement, audit."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from tests.ledger.cli.conftest import Run

Record = Callable[..., Path]


def test_a_record_from_elsewhere_is_booked_with_its_values(ok: Run, record: Record) -> None:
    shown = ok("import-run --json", record(gap=(0.005, 0.005))).json
    assert {part["contributor"]: int(part["value"]) for part in shown["contributors"]} == {
        "alice": 750_000_000_000,
        "bob": -250_000_000_000,
    }
    assert int(shown["improvement"]) == 505_000_000_000
    assert int(shown["gap"]) == 5_000_000_000
    assert shown["objective"] == "news"
    assert all(finding["ok"] for finding in shown["axioms"])
    assert ok("audit --json").json["ok"]


def test_the_same_record_is_booked_once(ok: Run, record: Record) -> None:
    first = ok("import-run --json", record()).json
    again = ok("import-run --json", record()).json
    assert (again["entry"], again["repeated"]) == (first["entry"], True)
    shown = ok("import-run", record()).out
    assert "booked before" in shown
    assert "0.750000000000" in shown


def test_sampled_values_are_shown_with_their_standard_errors(ok: Run, record: Record) -> None:
    path = record(standard_errors={"alice": [0.5, 0.25], "bob": [0.0, 0.0]})
    assert "0.750000000000 ± 0.375000000000" in ok("import-run", path).out
    assert "0.750000000000 ± 0.375000000000" in ok("statement alice").out
    assert ok("statement alice --json").json["runs"][0]["standard_error_nats"] == "0.375000000000"


def test_a_partial_record_is_booked_only_when_asked_for(run: Run, ok: Run, record: Record) -> None:
    path = record(complete=False)
    assert "--allow-partial" in run("import-run", path).refusal
    identity = ok("import-run --allow-partial --json", path).json["run"]
    assert "partial" in run(f"settle {identity} --pool 100 EUR").refusal
    assert ok(f"settle {identity} --pool 100 EUR --allow-partial --json").json["funded"] == "100.00"


def test_a_changed_record_is_refused_by_its_file(run: Run, ok: Run, record: Record) -> None:
    path = record()
    before = ok("audit --json").json
    content = (path / "values.parquet").read_bytes()
    (path / "values.parquet").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "values.parquet: changed" in run("import-run", path).refusal
    assert "nowhere" in run("import-run nowhere").refusal
    assert ok("audit --json").json == before


def test_a_record_of_strangers_is_refused(run: Run, record: Record, ok: Run, tmp_path: Path) -> None:
    from tests.ledger.records import synthetic_record

    path = synthetic_record({"mallory": [1.0]}).save(tmp_path / "strange")
    assert "'mallory'" in run("import-run", path).refusal


def test_a_pool_is_divided_to_the_last_cent(ok: Run, booked: str) -> None:
    shown = ok(f"settle {booked[:8]} --pool 10000.01 EUR --fee 250 --json").json
    assert (shown["funded"], shown["fee"], shown["asset"]) == ("10000.01", "250.00", "EUR")
    assert {part["contributor"]: part["paid"] for part in shown["payouts"]} == {"alice": "9750.01", "bob": "0.00"}
    parts = [Decimal(part["paid"]) for part in shown["payouts"]]
    assert sum(parts) + Decimal(shown["fee"]) + Decimal(shown["house"]) + Decimal(shown["gap"]) == Decimal("10000.01")
    assert ok("audit --json").json["ok"]


def test_a_rate_pays_for_every_nat_and_carries_debts(ok: Run, booked: str) -> None:
    shown = ok(f"settle {booked} --rate 100.00 EUR --negative carry --json").json
    assert shown["funded"] == "50.00"
    assert {part["contributor"]: (part["paid"], part["carried"]) for part in shown["payouts"]} == {
        "alice": ("75.00", "0.00"),
        "bob": ("0.00", "25.00"),
    }
    assert ok("audit --json").json["ok"]


def test_a_token_of_ones_own_needs_its_decimals(run: Run, ok: Run, booked: str) -> None:
    assert "--exponent" in run(f"settle {booked} --pool 1 GHOST").refusal
    shown = ok(f"settle {booked} --pool 1.000000000000000001 GHOST --exponent 18 --json").json
    assert shown["payouts"][0]["paid"] == "1.000000000000000001"


def test_a_run_may_be_named_by_the_folder_of_its_record(ok: Run, record: Record) -> None:
    folder = record("record")
    identity = ok("import-run", folder, "--json").json["run"]
    assert ok("settle", folder, "--pool", "5", "EUR", "--json").json["runs"] == [identity]
    assert ok("settle", folder.parent, "--pool", "5", "EUR", "--json").json["repeated"]


def test_a_dry_run_shows_the_same_figures_and_books_nothing(ok: Run, booked: str) -> None:
    before = ok("audit --json").json
    dry = ok(f"settle {booked} --pool 100 EUR --dry-run --json").json
    assert "nothing is booked" in ok(f"settle {booked} --pool 100 EUR --dry-run").out
    assert ok("audit --json").json == before
    made = ok(f"settle {booked} --pool 100 EUR --json").json
    assert dry["payouts"] == made["payouts"]
    assert (dry["entry"], dry["dry_run"]) == (None, True)


def test_a_run_is_settled_once(run: Run, ok: Run, booked: str) -> None:
    first = ok(f"settle {booked} --pool 100 EUR --json").json
    again = ok(f"settle {booked} --pool 100.00 EUR --json").json
    assert (again["entry"], again["repeated"], again["payouts"]) == (first["entry"], True, first["payouts"])
    assert "settled before" in ok(f"settle {booked} --pool 100 EUR").out
    assert "on other terms" in run(f"settle {booked} --pool 101 EUR").refusal


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--pool ten EUR", "'ten'"),
        ("--pool 10.001 EUR", "2 decimals"),
        ("--pool 0 EUR", "above zero"),
        ("--pool -5 EUR", "'-5'"),
        ("--pool 10 euros", "'euros'"),
        ("--pool 10 EUR --rate 10 EUR", "one of the two"),
        ("", "one of the two"),
        ("--pool 10 EUR --negative forget", "'forget'"),
        ("--pool 10 EUR --fee 10001", "basis points"),
        ("--pool 10 EUR --exponent 3", "ISO 4217"),
    ],
)
def test_senseless_terms_are_refused_and_book_nothing(run: Run, ok: Run, booked: str, words: str, reason: str) -> None:
    before = ok("audit --json").json
    assert reason in run(f"settle {booked} {words}").refusal
    assert ok("audit --json").json == before


def test_a_run_that_is_not_booked_is_not_settled(run: Run, booked: str) -> None:
    assert "is not booked" in run("settle 0000 --pool 10 EUR").refusal


def test_a_run_with_too_large_a_gap_is_not_settled(run: Run, ok: Run, record: Record) -> None:
    identity = ok("import-run --json", record(gap=(0.02, 0.02))).json["run"]
    assert "gap" in run(f"settle {identity} --pool 10 EUR").refusal


def test_a_run_on_data_without_consent_is_not_settled(
    run: Run, ok: Run, booked: str, registered: dict[str, str]
) -> None:
    ok(f"dataset withdraw-consent {registered['bob']} --at 2026-02-01")  # the run began on the first of March
    assert "no consent" in run(f"settle {booked} --pool 10 EUR").refusal


def test_a_statement_says_what_is_owed_and_why(ok: Run, booked: str, registered: dict[str, str]) -> None:
    ok(f"settle {booked} --rate 100 EUR --negative carry")
    alice, bob = ok("statement alice --json").json, ok("statement bob --json").json
    assert alice["balances"] == [{"asset": "EUR", "payable": "75.00", "receivable": "0.00"}]
    assert bob["balances"] == [{"asset": "EUR", "payable": "0.00", "receivable": "25.00"}]
    assert [dataset["fingerprint"] for dataset in alice["datasets"]] == [registered["alice"]]
    assert alice["runs"][0]["value_nats"] == "0.750000000000"
    shown = ok("statement alice").out
    assert "Owed to alice: 75.00 EUR" in shown
    assert "100.00 EUR a nat" in shown
    assert registered["alice"][:12] in shown
    assert "netted from later payouts: 25.00 EUR" in ok("statement bob").out


def test_a_statement_before_any_run_owes_nothing(run: Run, ok: Run, registered: dict[str, str]) -> None:
    shown = ok("statement alice").out
    assert "No run has used this data." in shown
    assert "Nothing is owed." in shown
    assert "'carol'" in run("statement carol").refusal


def test_an_audit_that_finds_nothing_says_so(ok: Run, booked: str) -> None:
    ok(f"settle {booked} --pool 100 EUR")
    shown = ok("audit").out
    assert "everything holds" in shown
    assert "FAILS" not in shown
    head = ok("audit --json").json["head"]
    assert ok(f"audit --expect-head {head} --json").json["ok"]


def test_an_audit_that_finds_something_names_it_and_exits_with_1(run: Run, booked: str, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "ghostledger.db") as database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f'DROP TRIGGER "{name}"')
        database.execute("UPDATE contributors SET name_commitment = lower(hex(zeroblob(32))) WHERE id = 'alice'")
    shown = run("audit")
    assert shown.code == 1
    assert "FAILS" in shown.out
    found = run("audit --json")
    assert found.code == 1
    failed = {check["name"]: check["detail"] for check in found.json["checks"] if not check["ok"]}
    assert "alice" in failed["registry"]


def test_a_missing_record_and_a_lost_head_fail_the_audit(run: Run, booked: str, tmp_path: Path) -> None:
    assert run("audit --expect-head", "f" * 64).code == 1
    shutil.rmtree(tmp_path / "runs")
    assert run("audit").code == 1


def test_the_books_and_their_records_may_be_moved_together(
    ok: Run, booked: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "moved"
    ok(f"settle {booked} --pool 100 EUR")
    shutil.copytree(tmp_path, elsewhere)
    shutil.rmtree(tmp_path / "runs")
    assert ok("audit --json --ledger", elsewhere / "ghostledger.db").json["ok"]
