from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq

from tests.ledger.cli.conftest import TINY, Run

TRAIN = f"train --out runs/one {TINY} --scores --json"


def test_a_run_is_curated_reported_and_trained_on_again(
    run: Run, ok: Run, corpora: dict[str, str], tmp_path: Path
) -> None:
    first = ok(TRAIN).json
    report = ok("curate runs/one --drop-share 0.02 --show 3 --json").json
    assert report["run"] == first["run"]
    assert report == json.loads((tmp_path / "runs/one/curated/report.json").read_text())
    assert [c["name"] for c in report["contributors"]] == ["alice", "bob", "carol"]
    tokens = sum(c["kept"]["size"] + c["dropped"]["size"] for c in report["contributors"])
    assert 0 < sum(c["dropped"]["size"] for c in report["contributors"]) <= 0.02 * tokens
    for sample in report["worst"] + report["best"]:
        assert sample["dataset"] == corpora[sample["contributor"]]
        assert sample["text"].startswith(f"{sample['contributor']} tells story")
        assert f"day {sample['sample']}," in sample["text"]
    words = "--keep runs/one/curated/keep.parquet --tokenizer runs/one/model"
    assert ok(f"train --out runs/two {TINY} {words} --json").json["run"] != first["run"]
    assert ok("audit --json").json["ok"]
    manifest = json.loads((tmp_path / "runs/two/record/manifest.json").read_text())
    assert manifest["keep"]["sha256"] == report["sha256"]
    assert "exists" in run("curate runs/one").refusal


def test_what_would_be_dropped_is_shown_to_people(ok: Run, corpora: dict[str, str]) -> None:
    ok(TRAIN)
    shown = ok("curate runs/one/record --drop-below 100 --out list").out
    assert "alice" in shown
    assert "dropped" in shown
    assert "tells story" in shown
    assert "train --keep list/keep.parquet" in shown
    shown = ok("curate runs/one --drop-share 0.1 --standing --out other").out
    assert "beside the others of their steps" in shown
    assert "standard deviations" in shown
    assert "the picture" not in shown
    shown = ok("curate runs/one --out third --picture pictures/curated.png").out
    assert "the picture: pictures/curated.png" in shown
    assert Path("pictures/curated.png").read_bytes().startswith(b"\x89PNG")


def test_without_the_ledger_the_list_is_made_and_texts_are_said_to_be_missing(ok: Run, corpora: dict[str, str]) -> None:
    ok(TRAIN)
    ran = ok("curate runs/one --ledger nowhere.db --json")
    assert "texts are not shown" in ran.err
    assert [sample["text"] for sample in ran.json["worst"]] == [None] * 5
    assert not Path("nowhere.db").exists()


def test_texts_that_are_not_consented_to_any_more_are_not_shown(ok: Run, corpora: dict[str, str]) -> None:
    ok(TRAIN)
    ok(f"dataset withdraw-consent {corpora['bob']} --at 2026-02-01")
    ran = ok("curate runs/one --show 40 --json")
    assert "bob" in ran.err
    texts = {(sample["contributor"], sample["text"] is None) for sample in ran.json["worst"] + ran.json["best"]}
    assert ("bob", False) not in texts
    assert {("bob", True), ("carol", False)} <= texts


REFUSED = [
    ("curate nowhere", "nowhere"),
    ("curate runs/one --drop-share 2", "between 0 and 1"),
    ("curate runs/one --drop-share 0.1 --drop-below 0", "not both"),
    ("curate runs/one --task dogs", "'dogs'"),
    ("curate runs/one --standing", "share"),
    (f"train --out runs/two {TINY} --keep runs/one/records.parquet", "keep list"),
    (f"train --out runs/two {TINY} --keep nowhere", "nowhere"),
]


def test_what_cannot_be_curated_is_refused_in_one_line(
    run: Run, ok: Run, corpora: dict[str, str], tmp_path: Path
) -> None:
    ok(TRAIN)
    for words, reason in REFUSED:
        assert reason in run(words).refusal
    assert not (tmp_path / "runs/two").exists()
    assert not (tmp_path / "runs/one/curated").exists()


def test_a_run_without_scores_is_refused_with_the_option_that_makes_them(
    run: Run, ok: Run, corpora: dict[str, str]
) -> None:
    ok(f"train --out runs/one {TINY} --json")
    assert "--scores" in run("curate runs/one").refusal


def test_a_keep_list_for_other_data_is_refused_by_name(
    run: Run, ok: Run, corpora: dict[str, str], tmp_path: Path
) -> None:
    ok(f"{TRAIN} --contributor alice")
    ok("curate runs/one --json")
    refused = run(f"train --out runs/two {TINY} --keep runs/one/curated/keep.parquet").refusal
    assert corpora["bob"][:12] in refused
    assert "'bob'" in refused
    keep = pq.read_table(tmp_path / "runs/one/curated/keep.parquet")
    assert set(keep["dataset"].to_pylist()) == {corpora["alice"]}
