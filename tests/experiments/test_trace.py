from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.experiments.quick import RUN, quick


def test_every_method_has_its_ranks_of_every_kind_of_query(tmp_path: Path) -> None:
    shown = quick("trace", tmp_path)
    for preconditioner in ("identity", "diagonal", "kronecker"):
        assert f"| gradients: {preconditioner}, gradient | 1 | " in shown
    assert "| BM25 | 1 | " in shown
    assert "| in-run scores, 1 sources | " in shown
    assert "| verbatim | 100% | 100% |" in shown
    assert (tmp_path / "pictures" / "trace.png").stat().st_size > 10_000


def test_a_rank_counts_who_is_ahead_and_halves_ties(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(RUN.parent), str(RUN.parents[1] / "bench")])
    from studies.trace import rank

    assert rank(np.array([3.0, 1.0, 2.0]), 0) == 1
    assert rank(np.array([3.0, 1.0, 2.0]), 1) == 3
    assert rank(np.array([2.0, 1.0, 2.0]), 0) == 1.5


def test_a_paraphrase_keeps_what_its_rule_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(RUN.parent), str(RUN.parents[1] / "bench")])
    from studies.paraphrase import halves, light, retained, significant

    text = "The film was big, but the tax grew. People said: the Film will win."
    synonyms = {"film": "movie", "tax": "levy", "win": "gain"}
    assert halves("a b c d e f g h") == "c d e f"
    changed = {light(text, synonyms, random.Random(seed)) for seed in range(20)}
    assert "The movie was big, but the levy grew. People said: the Movie will gain." in changed
    assert text in changed
    assert all(len(other.split()) == len(text.split()) for other in changed)
    said = significant(text, synonyms, random.Random(1))
    assert not {"film", "tax", "win."} & set(said.lower().split())
    assert retained(text, text, 3) == 1
    assert 0 < retained(text, said, 1) < 1
