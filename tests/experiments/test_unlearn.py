from __future__ import annotations

from pathlib import Path

from tests.experiments.quick import quick


def test_every_kind_of_contributor_is_forgotten_in_every_way(tmp_path: Path) -> None:
    shown = quick("unlearn", tmp_path)
    for kind in ("even (ordinary)", "all of 9 (sole owner)", "random labels (noise)"):
        assert shown.count(f"| {kind} | ") == 5  # a row in each summary
        assert f"AdamW 0.003, {kind}:" in shown
    for way in ("trained anew", "fine-tuned alone", "0.1 taken back, repaired", "ascent, then repair"):
        assert shown.count(f"\n| {way} | ") == 3
    assert (tmp_path / "pictures" / "unlearn.png").stat().st_size > 10_000
