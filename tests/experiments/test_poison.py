from __future__ import annotations

from pathlib import Path

from tests.experiments.quick import quick


def test_attacks_are_detected_removed_and_priced(tmp_path: Path) -> None:
    text = quick("poison", tmp_path)
    for attack in ("flips", "backdoor", "crafted"):
        assert text.count(f"| digits | AdamW 0.003 | {attack} |") == 3
    for way in ("suspicion, clean task", "training loss", "KNN-Shapley", "spectral signatures"):
        assert f"| {way} |" in text
    for strategy in ("honest", "splits into five names", "hands in validation rows"):
        assert f"| {strategy} |" in text
    assert (tmp_path / "pictures" / "poison.png").stat().st_size > 10_000
