from __future__ import annotations

from pathlib import Path

import pytest

from tests.ledger.cli.conftest import TINY, Run

SAID = "carol tells story 5 of day 41, which was a good one."


@pytest.fixture
def trained(ok: Run, corpora: dict[str, str], tmp_path: Path) -> dict[str, str]:
    ok(f"train --out runs/one {TINY} --lr 0.01 --scores --json")
    (tmp_path / "said.txt").write_text(SAID)
    return corpora


def test_a_text_is_explained_and_training_again_is_the_check(run: Run, ok: Run, trained: dict[str, str]) -> None:
    found = ok("explain runs/one --text said.txt --extremes 8 --json").json
    assert (found["preconditioner"], found["normalise"]) == ("identity", "none")
    assert found["samples"] >= 180
    assert [one["score"] for one in found["lowered"]] == sorted((o["score"] for o in found["lowered"]), reverse=True)
    assert all(one["score"] < 0 for one in found["raised"])
    assert len(found["lowered"]) == 8
    best = found["hypotheses"][0]
    assert (best["group"], best["end"], best["corrected"] < 0.05) == ("carol", "lowered", True)
    checked = ok("explain runs/one --text said.txt --check group --draws 1 --json").json["check"]
    assert (checked["what"], checked["removed"], checked["total"]) == ("contributor carol", 60, 180)
    assert checked["before"] == pytest.approx(found["loss"])
    assert checked["without"] > checked["before"]
    assert len(checked["at_random"]) == 1
    shown = ok("explain runs/one --text said.txt --check lowered --draws 1 --show 2").out
    assert "corrected p" in shown
    assert shown.count("lowered it, +") == 2
    assert "without as many at random" in shown
    for words, reason in REFUSED:
        assert reason in run(words).refusal


REFUSED = [
    ("explain runs/one", "one thing"),
    ("explain runs/one --text said.txt --task held", "one thing"),
    ("explain runs/one --task held --check group", "--check"),
    ("explain runs/one --task nothing", "'held'"),
    ("explain runs/one --text nothing.txt", "nothing.txt"),
    ("explain runs/one --text said.txt --check somebody", "somebody"),
    ("explain runs/one --text said.txt --normalise twice", "twice"),
    ("explain runs/one --text said.txt --keep said.txt", "keep list"),
    ("explain nowhere --text said.txt", "nowhere"),
    ("explain runs/one --sample held", "DATASET/RECORD"),
    ("explain runs/one --sample held/40000", "no such record"),
    ("explain runs/one --sample nothing/0", "no such dataset"),
]


def test_a_record_is_explained_by_its_name_whether_trained_on_or_held_out(
    ok: Run, trained: dict[str, str], tmp_path: Path
) -> None:
    by_text = ok("explain runs/one --text said.txt --json").json
    (tmp_path / "other.txt").write_text("carol tells story 5 of day 7, which was a good one.")
    own = ok("explain runs/one --text other.txt --json").json
    by_name = ok(f"explain runs/one --sample {trained['carol'][:16]}/7 --json").json
    assert by_name == own
    assert by_name["loss"] != by_text["loss"]
    held = ok("explain runs/one --sample held/0 --json").json
    assert held["loss"] > 0


def test_a_task_is_explained_by_the_scores_that_the_run_kept(run: Run, ok: Run, trained: dict[str, str]) -> None:
    found = ok("explain runs/one --task held --json").json
    assert all(one["score"] < 0 for one in found["raised"])
    assert found["lowered"][0]["contributor"] in trained
    assert found["lowered"][0]["sample"].count("/") == 2
    assert "what moved the loss on held" in ok("explain runs/one --task held").out
    ok(f"train --out runs/plain {TINY} --json")
    assert "--scores" in run("explain runs/plain --task held").refusal
