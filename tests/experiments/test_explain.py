from __future__ import annotations

from pathlib import Path

from tests.experiments.quick import quick


def test_every_way_to_explain_has_its_row_and_every_removal(tmp_path: Path) -> None:
    shown = quick("explain", tmp_path)
    for way in ("gradients", "nearest, pixels", "nearest, features"):
        assert f"| {way} | " in shown
        assert f"| 20 samples by {way} | " in shown
    assert "| the guilty contributor | -" in shown
    assert "| as many samples at random | " in shown
    assert "| the records that raised the loss most | " in shown
    assert (tmp_path / "pictures" / "explain.png").stat().st_size > 10_000
