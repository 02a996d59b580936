from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from attribution.record import RunRecord
from tests.ledger.cli.conftest import Run
from tests.ledger.records import with_beside

OWN = {"alice": [0.75, 0.75], "bob": [-0.25, -0.25]}
OTHER = {"alice": [0.25, 0.25], "bob": [0.25, 0.25]}
RETRAINED = {"alice": [0.5, 0.5], "bob": [0.125, 0.125]}


@pytest.fixture
def run_folder(record: Callable[..., Path], tmp_path: Path) -> Path:
    """A record with a valuation beside its own, by which bob did no harm."""
    plain = RunRecord.load(record("plain", values=OWN, method={"name": "path", "every": 1}))
    return with_beside(plain, counterfactual=OTHER).save(tmp_path / "runs" / "valued")


@pytest.fixture
def retrained(record: Callable[..., Path]) -> Path:
    return record("retrained", values=RETRAINED, method={"name": "retraining"}, steps=1)


def test_valuations_are_listed_side_by_side_with_what_is_paid_by(ok: Run, run_folder: Path, retrained: Path) -> None:
    assert "its valuation 'counterfactual' is entry" in ok("import-run", run_folder).out
    again = ok("import-run --json", run_folder).json
    run = again["run"]
    assert list(again["other_valuations"]) == ["counterfactual"]
    added = ok(f"valuation add {run[:8]} {retrained} --json").json
    assert (added["name"], added["repeated"]) == ("retraining", False)
    assert "booked before" in ok("valuation add", run_folder, retrained).out
    assert "'court'" in ok(f"valuation add {run} {retrained} --as court").out
    settled = ok(f"settle {run} --rate 100 EUR --by retraining --json").json
    assert [payout["share"] for payout in settled["payouts"]] == ["50.00", "12.50"]
    assert "by valuation retraining" in settled["terms"]
    listed = ok(f"valuation list {run} --json").json
    assert listed["run"] == run
    names = {one["name"]: one for one in listed["valuations"]}
    assert list(names) == ["step", "counterfactual", "retraining", "court"]
    assert [names[name]["settlements"] for name in names] == [[], [], [settled["entry"]], []]
    assert [one["share"] for one in names["retraining"]["contributors"]] == [0.8, 0.2]
    assert names["step"]["contributors"][1]["value_nats"] == "-0.250000000000"
    assert names["retraining"]["improvement_nats"] == "0.625000000000"
    shown = ok(f"valuation list {run}").out
    for words in ("step", "-0.250000000000 (-50.00%)", f"settlement {settled['entry']} pays by it"):
        assert words in shown
    assert ok("audit --json").json["ok"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            "settle {run} --pool 10 EUR --by retraining",
            "no valuation 'retraining'; it carries 'step', 'counterfactual'",
        ),
        ("valuation add {run} {retrained} --as counterfactual", "give the valuation another name with --as"),
        ("valuation add {run} {retrained} --as Court", "'Court'"),
        ("valuation add {run} nowhere", "nowhere"),
        ("valuation add abcd {retrained}", "'abcd'"),
        ("valuation list abcd", "'abcd'"),
    ],
)
def test_what_cannot_be_is_refused_and_books_nothing(
    ok: Run, run: Run, run_folder: Path, retrained: Path, line: str, reason: str
) -> None:
    booked = ok("import-run --json", run_folder).json["run"]
    before = ok("audit --json").json
    assert reason in run(line.format(run=booked, retrained=retrained)).refusal
    assert ok("audit --json").json == before


def test_other_terms_of_a_settled_run_name_both_valuations(ok: Run, run: Run, run_folder: Path) -> None:
    booked = ok("import-run --json", run_folder).json["run"]
    ok(f"settle {booked} --rate 100 EUR")
    refused = run(f"settle {booked} --rate 100 EUR --by counterfactual").refusal
    assert "by valuation of its own, not counterfactual" in refused
    assert "settled before" in ok(f"settle {booked} --rate 100 EUR --by step").out


def test_a_statement_shows_valuations_that_disagree_and_verifies(
    ok: Run, run: Run, run_folder: Path, tmp_path: Path
) -> None:
    ok("import-run --json", run_folder)
    assert "disagree in sign: see docs/counterfactual.md" in ok("statement bob").out
    assert "disagree" not in ok("statement alice").out
    (tmp_path / "operator.pub").write_text(ok("key operator.key").out)
    whole = ok("statement bob --json --proofs --key operator.key").out
    assert [one["share"] for one in json.loads(whole)["runs"][0]["valuations"]] == [-0.5, 0.5]
    (tmp_path / "bob.json").write_text(whole)
    ok("verify bob.json --key operator.pub")
    forged = whole.replace('"value_nats": "0.250000000000"', '"value_nats": "0.350000000000"')
    (tmp_path / "forged.json").write_text(forged)
    assert "valuations[1].value_nats" in run("verify forged.json --key operator.pub").out


def test_a_dispute_calls_for_a_valuation_and_is_settled_by_it(ok: Run, run: Run, run_folder: Path) -> None:
    booked = ok("import-run --json", run_folder).json["run"]
    first = ok(f"settle {booked} --pool 100 EUR --json").json["entry"]
    Path("letter.txt").write_text("nobody else has what I have")
    line = f"dispute open --by bob --against alice --settlement {first} --evidence letter.txt"
    assert "--amount" in run(line).refusal
    opened = ok(f"{line} --calls-for counterfactual --json").json
    assert (opened["amount"], opened["calls_for"], opened["settled_anew"]) == ("50.00", "counterfactual", None)
    assert "calls for valuation counterfactual" in ok("statement bob").out
    resolve = f"dispute resolve {opened['dispute']} --for claimant --reason agreed"
    said = ok(resolve).out
    assert "by it, bob would have been given 50.00 EUR" in said
    made = ok(f"{resolve} --json").json
    assert (made["payout_by_it"], made["settled_anew"] > first) == ("50.00", True)
    assert "by it, the claimant would have been given 50.00 EUR" in ok("statement bob").out
    assert ok("statement bob --json").json["disputes"][0]["payout_by_it"] == "50.00"
    assert ok("statement bob --json").json["balances"] == [{"asset": "EUR", "payable": "50.00", "receivable": "0.00"}]
    assert ok("audit --json").json["ok"]


def test_a_valuation_that_is_still_to_be_made_needs_an_amount_and_waits(
    ok: Run, run: Run, run_folder: Path, retrained: Path
) -> None:
    booked = ok("import-run --json", run_folder).json["run"]
    first = ok(f"settle {booked} --pool 100 EUR --json").json["entry"]
    Path("letter.txt").write_text("train again")
    line = f"dispute open --by bob --against alice --settlement {first} --evidence letter.txt --calls-for retraining"
    assert "no valuation 'retraining'" in run(line).refusal
    opened = ok(f"{line} --json --amount", "20.00 EUR").json["dispute"]
    resolve = f"dispute resolve {opened} --for claimant --reason agreed"
    assert "it carries 'step', 'counterfactual'" in run(resolve).refusal
    ok(f"valuation add {booked} {retrained}")
    assert "settled anew by valuation retraining" in ok(resolve).out
    assert ok("audit --json").json["ok"]


@pytest.mark.parametrize("export", ["hledger", "beancount", "json", "csv"])
def test_books_with_several_valuations_are_exported(ok: Run, run_folder: Path, export: str, tmp_path: Path) -> None:
    ok("import-run --json", run_folder)
    ok(f"export --format {export} --out books")
    assert "counterfactual" in _all(tmp_path / "books").lower()


def _all(path: Path) -> str:
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return "".join(file.read_text() for file in files if file.is_file())
