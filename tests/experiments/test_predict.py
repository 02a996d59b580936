from __future__ import annotations

from pathlib import Path

from tests.experiments.quick import quick


def test_every_method_is_measured_against_retraining(tmp_path: Path) -> None:
    text = quick("predict", tmp_path)
    for method in ("step path", "run path", "leave-one-out", "TRAK", "influence", "TracIn, last", "size"):
        assert f"| {method} |" in text
    assert text.count("| digits, mixed | contributors | SGD 0.2 |") == 2
    assert text.count("| digits, mixed | samples | SGD 0.2 |") == 2
    assert (tmp_path / "pictures" / "predict.png").stat().st_size > 10_000
