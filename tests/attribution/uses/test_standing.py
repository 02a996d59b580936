"""Standings: scores beside those of the same steps, against their definition, and what they are for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from attribution.record import RunRecord, Steps
from attribution.scores import ScoreWriter
from attribution.uses.curate import curate
from attribution.uses.curation import Rule
from attribution.uses.errors import UseError
from attribution.uses.units import scored_units


def run(path: Path, scores: dict[int, dict[str, list[float]]]) -> RunRecord:
    """A record of two tasks, weighted 1 to 3, with scores by step and sample."""
    with ScoreWriter(path, ["ann", "bob"], ["one", "two"]) as writer:
        for step, found in scores.items():
            writer.add(step, list(found), [int(name > "m") for name in found], list(found.values()))
    return RunRecord(["ann", "bob"], ["one", "two"], np.array([0.25, 0.75]), Steps.of([], 2, 2), scores=path)


def kept(record: RunRecord, folder: Path, rule: Rule) -> set[str]:
    rows = pq.read_table(curate(record, folder, folder / "out", rule).path / "keep.parquet").to_pylist()
    return {row["sample"] for row in rows if row["keep"]}


def test_a_standing_is_the_mean_over_steps_of_deviations_from_the_steps_mean(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    names = [f"{letter}{n}" for letter in "az" for n in range(20)]
    scores = {
        step: {name: draw.normal(scale=10.0 / (step + 1), size=2).tolist() for name in draw.choice(names, 9, False)}
        for step in range(30)
    }
    record = run(tmp_path / "s.parquet", scores)
    stood: dict[str, list[float]] = {name: [] for name in names}
    for found in scores.values():
        weighted = np.array(list(found.values())) @ [0.25, 0.75]
        for name, score in zip(found, weighted, strict=True):
            stood[name].append((score - np.mean(weighted)) / np.std(weighted))
    with scored_units(record, tmp_path, [0.25, 0.75], beside=tmp_path, standing=True) as units:
        found = {row[2]: row[-1] for row in units.totals.extremes(100, worst=True)}
    assert found == pytest.approx({name: np.mean(values) for name, values in stood.items() if values}, abs=1e-9)
    assert list(found.values()) == sorted(found.values())


def test_what_was_seen_early_is_not_kept_for_that(tmp_path: Path) -> None:
    early = {"a": [9.0, 9.0], "bad": [6.0, 6.0], "c": [9.5, 9.5]}
    late = {"n": [0.2, 0.2], "o": [0.3, 0.3], "p": [0.1, 0.1]}
    record = run(tmp_path / "s.parquet", {0: early, 900: late})
    assert kept(record, tmp_path, Rule(share=1 / 6)) == {"a", "bad", "c", "n", "o"}  # by nats the last are dropped
    (tmp_path / "out").rename(tmp_path / "before")
    assert kept(record, tmp_path, Rule(share=1 / 6, standing=True)) == {"a", "c", "n", "o", "p"}


def test_where_all_score_alike_nobody_stands_out(tmp_path: Path) -> None:
    record = run(tmp_path / "s.parquet", {0: {"a": [0.1, 0.1]}, 1: {"b": [0.3, 0.7], "c": [0.3, 0.7]}})
    report = curate(record, tmp_path, tmp_path / "out", Rule(share=0.5, standing=True))
    assert {sample.sample: sample.standing for sample in report.worst} == {"a": 0.0, "b": 0.0, "c": 0.0}
    plain = curate(record, tmp_path, tmp_path / "plain", Rule(share=0.5))
    assert {sample.standing for sample in plain.worst} == {None}


def test_a_standing_without_a_share_is_refused() -> None:
    with pytest.raises(UseError, match="share"):
        Rule(standing=True)
