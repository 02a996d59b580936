"""The royalty experiment runs from end to end."""

from __future__ import annotations

from pathlib import Path

from tests.experiments.quick import quick


def test_every_figure_has_its_rows_and_the_picture_is_drawn(tmp_path: Path) -> None:
    text = quick("royalty", tmp_path)
    for kind in ("held out", "written by the model"):
        assert sum(line.startswith(f"| {kind} |") for line in text.splitlines()) == 4
    assert (tmp_path / "pictures" / "royalty.png").stat().st_size > 5_000
