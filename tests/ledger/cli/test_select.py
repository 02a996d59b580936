from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq

from tests.ledger.cli.conftest import TINY, Run

TRAIN = f"train --out runs/one {TINY} --scores --json"


def test_a_budget_of_tokens_is_spent_reported_and_trained_on(
    run: Run, ok: Run, corpora: dict[str, str], tmp_path: Path
) -> None:
    first = ok(TRAIN).json
    report = ok("select runs/one --budget 120 --fill --show 3 --json").json
    assert report["run"] == first["run"]
    assert report == json.loads((tmp_path / "runs/one/selected/report.json").read_text())
    assert 90 < int(report["spent"]) <= 120
    assert sum(c["taken"]["size"] for c in report["contributors"]) == int(report["spent"])
    assert report["worst"][0]["text"].startswith(f"{report['worst'][0]['contributor']} tells story")
    words = "--keep runs/one/selected/keep.parquet --tokenizer runs/one/model"
    ok(f"train --out runs/two {TINY} {words} --json")
    manifest = json.loads((tmp_path / "runs/two/record/manifest.json").read_text())
    assert manifest["keep"]["sha256"] == report["sha256"]
    more = ok("select runs/one --budget 300 --fill --chosen runs/one/selected/keep.parquet --out more --json").json
    before, after = (
        {(row["dataset"], row["record"]) for row in pq.read_table(tmp_path / path).to_pylist() if row["keep"]}
        for path in ("runs/one/selected/keep.parquet", "more/keep.parquet")
    )
    assert before < after
    assert 250 < int(more["spent"]) <= 300
    assert "exists" in run("select runs/one --budget 300").refusal


def test_contributors_are_bought_for_money_from_a_run_without_scores(ok: Run, corpora: dict[str, str]) -> None:
    ok(f"train --out runs/one {TINY} --json")
    prices = "--price alice=10.00 --price bob=0.50 --price carol=0.50"
    report = ok(f"select runs/one/record --budget 1.00 --unit contributors {prices} --json").json
    taken = {c["name"] for c in report["contributors"] if c["whole"]}
    positive = {c["name"] for c in report["contributors"] if c["value"] > 0}
    assert taken == positive & {"bob", "carol"}
    assert report["sha256"] is None
    assert report["budget"]["amount"] == "1.00"
    shown = ok(f"select runs/one --budget 1.00 --unit contributors {prices} --out other").out
    assert "train --contributor" in shown
    assert "the most that the budget buys" in shown


def test_what_is_taken_is_shown_to_people(ok: Run, corpora: dict[str, str]) -> None:
    ok(TRAIN)
    shown = ok("select runs/one --budget 20 --unit records --out list --picture taken.png").out
    assert Path("taken.png").read_bytes().startswith(b"\x89PNG")
    for part in ("alice", "taken", "tells story", "train --keep list/keep.parquet", "of 20"):
        assert part in shown


REFUSED = [
    ("select nowhere --budget 5", "nowhere"),
    ("select runs/one --budget 1e5", "plain digits"),
    ("select runs/one --budget -5", "plain digits"),
    ("select runs/one --budget 5 --unit apples", "apples"),
    ("select runs/one --budget 5 --task dogs", "'dogs'"),
    ("select runs/one --budget 5 --price alice", "CONTRIBUTOR=AMOUNT"),
    ("select runs/one --budget 5 --price alice=x", "plain digits"),
    ("select runs/one --budget 5 --price alice=1 --price alice=2", "twice"),
    ("select runs/one --budget 5 --price alice=1", "'bob' has no price"),
    ("select runs/one --budget 5 --price eve=1", "'eve'"),
    ("select runs/one --budget 5 --unit contributors --fill", "fill up"),
    ("select runs/one --budget 5 --picture alice.jsonl/x.png --out aside", "cannot be written"),
    ("select runs/one --budget 5 --chosen runs/one/records.parquet", "keep list"),
]


def test_what_cannot_be_selected_is_refused_in_one_line(
    run: Run, ok: Run, corpora: dict[str, str], tmp_path: Path
) -> None:
    ok(TRAIN)
    for words, reason in REFUSED:
        assert reason in run(words).refusal
    assert not (tmp_path / "runs/one/selected").exists()


def test_records_of_a_run_without_scores_are_refused_with_the_option_that_makes_them(
    run: Run, ok: Run, corpora: dict[str, str]
) -> None:
    ok(f"train --out runs/one {TINY} --json")
    assert "--scores" in run("select runs/one --budget 100").refusal
