from __future__ import annotations

from pathlib import Path

from tests.experiments.quick import quick


def test_every_task_has_its_row_and_every_corpus_its_own(tmp_path: Path) -> None:
    shown = quick("timeline", tmp_path)
    for task in ("business news", "source code", "scripture"):
        assert f"| {task} | " in shown
        assert f"On {task}, " in shown
    assert shown.count("| conversations | ") == 3
    assert (tmp_path / "pictures" / "timeline.png").stat().st_size > 10_000
