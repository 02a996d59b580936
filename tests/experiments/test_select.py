from __future__ import annotations

from pathlib import Path

from tests.experiments.quick import quick


def test_every_way_to_choose_has_its_curve(tmp_path: Path) -> None:
    page = quick("select", tmp_path)
    for way in ("scores at once", "scores, in rounds", "at random", "lowest loss", "nearest to cluster centres"):
        assert page.count(f"| {way} |") == 2
    assert "wrong labels" in page
    assert (tmp_path / "pictures" / "select.png").stat().st_size > 5_000
