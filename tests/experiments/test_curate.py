from __future__ import annotations

from pathlib import Path

from tests.experiments.quick import quick


def test_every_filter_is_compared_on_every_pool(tmp_path: Path) -> None:
    page = quick("curate", tmp_path)
    names = ("scores, nats", "scores, standing", "at random", "highest loss of the run's model")
    for name in (*names, "highest loss of a reference model"):
        assert page.count(f"| {name}") >= 1
    for title in (
        "40% of the pool is not prose",
        "scored in a quarter of the steps",
        "A pool of prose alone",
        "in place of bytes",
    ):
        assert title in page
    for kind in ("news", "markup", "licences", "shuffled words"):
        assert f"| {kind} |" in page
    assert (tmp_path / "pictures" / "curate.png").stat().st_size > 5_000
