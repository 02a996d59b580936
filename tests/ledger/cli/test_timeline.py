from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ledger.cli.conftest import TINY, Run

Record = Callable[..., Path]


def test_a_saved_run_is_told_in_parts_and_drawn(ok: Run, record: Record, tmp_path: Path) -> None:
    record(steps=20)
    found = ok("timeline runs/run --parts 4 --picture shown/run.png --json").json
    assert found["tasks"] == ["objective", "business", "sport"]
    assert [(part["first_step"], part["end_step"]) for part in found["parts"]] == [(0, 5), (5, 10), (10, 15), (15, 20)]
    alice, bob = found["contributors"].index("alice"), found["contributors"].index("bob")
    assert found["parts"][0]["values"][alice] == pytest.approx([0.1875, 0.25, 0.125])
    assert found["early"]["share_of_own_value"][alice] == pytest.approx([0.1] * 3)
    assert found["late"]["share_of_own_value"][bob] == [None] * 3
    assert found["late"]["share_of_these_steps"][bob] == pytest.approx([-0.5, -1 / 3, -1])
    assert (tmp_path / "shown/run.png").read_bytes().startswith(b"\x89PNG")


def test_people_read_a_table_for_each_task(ok: Run, record: Record) -> None:
    record(steps=20)
    shown = ok("timeline runs/run --task sport").out
    assert "sport: the first tenth of 20 steps and the last half" in shown
    assert "business" not in shown
    assert "steps 1–2" in shown
    assert "steps 11–20" in shown
    assert "10.0%" in shown
    assert "–0" not in shown


def test_what_the_trainer_wrote_is_told_with_paths_of_several_steps(ok: Run, run: Run, corpora: dict[str, str]) -> None:
    ok(f"train --out runs/one {TINY.replace('--max-steps 3', '--max-steps 20')} --every 3 --json")
    ran = ok("timeline runs/one --parts 3 --json")
    assert [part["end_step"] for part in ran.json["parts"]] == [6, 12, 20]  # the last path is of two steps
    assert "the end of part 1 stands at step 6 instead of 6.66667" in ran.err


def test_what_has_no_timeline_is_refused_in_one_line(run: Run, record: Record, tmp_path: Path) -> None:
    record(steps=20)
    record("whole", steps=1, length=[20])
    for words, reason in [
        ("timeline nowhere", "nowhere"),
        ("timeline runs/run --task dogs", "'dogs'"),
        ("timeline runs/run --parts 0", "--parts"),
        ("timeline runs/run --parts 21 --picture a.png", "fewer --parts"),
        ("timeline runs/whole --picture a.png", "--every 1"),
        ("timeline runs/run --picture runs/run/manifest.json/a.png", "cannot be written"),
    ]:
        assert reason in run(words).refusal
    assert not (tmp_path / "a.png").exists()
