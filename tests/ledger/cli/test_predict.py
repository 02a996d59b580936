from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ledger.cli.conftest import TINY, Run


def test_the_values_of_who_is_missing_are_added_to_the_last_loss(ok: Run, record: Callable[..., Path]) -> None:
    found = ok("predict --without bob --json", record()).json
    (one,) = found["predictions"]
    after = found["loss_after"]
    assert one["change"] == {"weighted": -0.25, "tasks": {"business": -0.25, "sport": -0.25}}
    assert one["loss"]["weighted"] == pytest.approx(after["weighted"] - 0.25)
    assert found["without"] == ["bob"]
    assert found["records"] is None


def test_a_trained_run_is_predicted_by_each_of_its_valuations_and_without_records(
    run: Run, ok: Run, corpora: dict[str, str]
) -> None:
    ok(f"train --out runs/one {TINY} --scores --every 1 --every run")
    ok("curate runs/one --drop-share 0.1")
    both = ok("predict runs/one --without bob --without carol --json").json
    assert [one["by"] for one in both["predictions"]] == ["1", "run"]
    chosen = ok("predict runs/one --without bob --without carol --by run --json").json
    assert chosen["predictions"] == both["predictions"][1:]
    dropped = ok("predict runs/one --without-records runs/one/curated/keep.parquet --json").json
    assert [one["by"] for one in dropped["predictions"]] == ["1"]
    assert sum(one["score"] for one in dropped["records"]) == pytest.approx(
        dropped["predictions"][0]["change"]["weighted"]
    )
    shown = ok("predict runs/one --without bob").out
    assert "step values" in shown
    assert "run values" in shown
    assert "without bob" in shown
    assert "--by 1" in run("predict runs/one --without-records runs/one/curated/keep.parquet --by run").refusal


def test_what_cannot_be_predicted_is_refused_in_one_line(run: Run, record: Callable[..., Path]) -> None:
    path = record()
    assert "no contributor 'eve'" in run("predict --without eve", path).refusal
    assert "name who is to be left out" in run("predict", path).refusal
    assert "not valued by 'run'" in run("predict --without bob --by run", path).refusal
    assert "nowhere" in run("predict nowhere --without bob").refusal
    bare = record("bare", method={"name": "path", "every": 1})
    assert "--scores" in run("predict --without-records keep.parquet", bare).refusal
