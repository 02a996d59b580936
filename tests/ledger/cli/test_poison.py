from __future__ import annotations

import json
from pathlib import Path

from tests.ledger.cli.conftest import TINY, Run

TRAIN = f"train --out runs/one {TINY} --scores"


def test_suspects_are_reported_listed_and_left_out_of_the_next_run(
    run: Run, ok: Run, corpora: dict[str, str], tmp_path: Path
) -> None:
    ok(TRAIN)
    report = ok("poison runs/one --false-alarms 0.05 --show 3 --json").json
    assert report == json.loads((tmp_path / "runs/one/suspects/report.json").read_text())
    assert sorted(one["name"] for one in report["suspects"]) == ["alice", "bob", "carol"]
    assert len(report["worst"]) == 3
    for sample in report["worst"]:
        assert sample["text"].startswith(f"{sample['contributor']} tells story")
    words = "--keep runs/one/suspects/keep.parquet --tokenizer runs/one/model"
    ok(f"train --out runs/two {TINY} {words}")
    manifest = json.loads((tmp_path / "runs/two/record/manifest.json").read_text())
    assert manifest["keep"]["sha256"] == report["sha256"]
    assert "exists" in run("poison runs/one").refusal


def test_people_are_told_what_the_threshold_assumes(ok: Run, corpora: dict[str, str]) -> None:
    ok(TRAIN)
    shown = ok("poison runs/one --out list --task held").out
    assert "if honest samples deviate as far to the good side" in shown
    assert "train --keep list/keep.parquet" in shown


def test_what_cannot_be_judged_is_refused_in_one_line(run: Run, ok: Run, corpora: dict[str, str]) -> None:
    ok(TRAIN)
    assert "no contributor 'zoe'" in run("poison runs/one --trusted zoe").refusal
    assert "no task 'sport'" in run("poison runs/one --task sport").refusal
    assert "it takes 99" in run("poison runs/one --trusted alice").refusal
    assert not Path("runs/one/suspects").exists()
    ok(f"train --out runs/two {TINY}")
    assert "--scores" in run("poison runs/two").refusal
