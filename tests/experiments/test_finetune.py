"""The fine-tuning experiment runs from end to end, on a small model in place of the pretrained one."""

from __future__ import annotations

from pathlib import Path

from tests.experiments.quick import quick


def test_contributors_and_filters_have_their_rows_and_the_picture_is_drawn(tmp_path: Path) -> None:
    lines = quick("finetune", tmp_path).splitlines()
    for name in ("business", "shuffled words", "everything", "without the least by score"):
        assert sum(line.startswith(f"| {name} |") for line in lines) == 1
    assert (tmp_path / "pictures" / "finetune.png").stat().st_size > 5_000
