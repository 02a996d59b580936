"""Poison: planted samples are found, thresholds keep to their rate, and contributors are told apart."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from attribution.record import RunRecord, Steps
from attribution.scores import ScoreWriter
from attribution.uses.errors import MissingFromRunError, UseError
from attribution.uses.poison import poison
from attribution.uses.suspicion import (
    chance_of_as_many,
    courses,
    mirrored_threshold,
    robust_deviations,
    trusted_threshold,
)
from tests.attribution.uses.test_curate import Planted, planted  # noqa: F401

NAMES = ["ann", "bob", "eve"]
EACH = 400


def attacked(path: Path, harm: dict[str, float], tasks: list[str], bad: int = 40) -> RunRecord:
    """A record of 400 samples each over four steps, whose scale falls; eve's first `bad` lose `harm` on each task."""
    draw = np.random.default_rng(0)
    loss = np.zeros(len(tasks))
    per_step = []
    with ScoreWriter(path, NAMES, tasks) as writer:
        for step in range(4):
            scale = 10.0**-step
            who = np.repeat(np.arange(3), EACH)
            scores = scale * (1 + draw.normal(size=(len(who), len(tasks))))
            scores[2 * EACH : 2 * EACH + bad] -= scale * np.array([harm.get(task, 0.0) for task in tasks])
            writer.add(step, np.arange(len(who)), who, scores)
            per_step.append(np.stack([scores[who == c].sum(axis=0) for c in range(3)]))
    values = np.array(per_step)
    after = loss - np.cumsum(values.sum(axis=1), axis=0)
    steps = Steps(
        loss_before=np.vstack([loss, after[:-1]]),
        loss_after=after,
        values=values,
        house=np.zeros_like(after),
        gap=np.zeros_like(after),
        nodes=np.full(4, 2),
        rows=np.full((4, 3), EACH),
    )
    return RunRecord(NAMES, tasks, np.full(len(tasks), 1 / len(tasks)), steps, scores=path)


def dropped(folder: Path) -> set[int]:
    return {row["sample"] for row in pq.read_table(folder / "keep.parquet").to_pylist() if not row["keep"]}


def test_planted_samples_are_flagged_and_the_others_at_the_rate_that_was_asked_for(tmp_path: Path) -> None:
    record = attacked(tmp_path / "s.parquet", {"clean": 8.0}, ["clean"])
    found = poison(record, tmp_path, tmp_path / "out", show=40)
    bad = set(range(2 * EACH, 2 * EACH + 40))
    assert bad <= dropped(tmp_path / "out")
    assert len(dropped(tmp_path / "out") - bad) <= 0.02 * 3 * EACH
    assert {sample.sample for sample in found.worst} == bad
    assert found.suspects[0].name == "eve"
    assert found.suspects[0].chance < 1e-9 < found.suspects[1].chance
    assert json.loads((tmp_path / "out" / "report.json").read_text())["suspects"][0]["name"] == "eve"


def test_what_only_one_task_measures_is_found_by_that_task_alone(tmp_path: Path) -> None:
    record = attacked(tmp_path / "s.parquet", {"trigger": 8.0}, ["clean", "trigger"])
    bad = set(range(2 * EACH, 2 * EACH + 40))
    poison(record, tmp_path, tmp_path / "all")
    assert bad <= dropped(tmp_path / "all")
    poison(record, tmp_path, tmp_path / "trigger", tasks=["trigger"])
    assert bad <= dropped(tmp_path / "trigger")
    poison(record, tmp_path, tmp_path / "clean", tasks=["clean"])
    assert len(bad & dropped(tmp_path / "clean")) <= 3


def test_help_on_one_task_hides_no_harm_to_another(tmp_path: Path) -> None:
    record = attacked(tmp_path / "s.parquet", {"trigger": 8.0, "clean": -8.0}, ["clean", "trigger"])
    poison(record, tmp_path, tmp_path / "out", trusted=["ann"])
    assert set(range(2 * EACH, 2 * EACH + 40)) <= dropped(tmp_path / "out")


def test_a_trusted_contributor_sets_the_threshold_and_is_never_flagged(tmp_path: Path) -> None:
    record = attacked(tmp_path / "s.parquet", {"clean": 8.0}, ["clean"])
    found = poison(record, tmp_path, tmp_path / "out", trusted=["ann"], false_alarms=0.02)
    assert not dropped(tmp_path / "out") & set(range(EACH))
    assert len(dropped(tmp_path / "out") & set(range(EACH, 2 * EACH))) <= 0.05 * EACH
    (ann,) = [one for one in found.suspects if one.trusted]
    assert (ann.name, ann.flagged) == ("ann", 0)
    assert "ann" in found.assumes


def test_a_tenth_of_bad_samples_does_not_move_the_scale_by_which_they_are_judged() -> None:
    draw = np.random.default_rng(1)
    honest = draw.normal(size=(1000, 1))
    spoiled = honest.copy()
    spoiled[:100] -= 1e6
    plain, robust = robust_deviations(honest)[100:], robust_deviations(spoiled)[100:]
    # The median of what is left is the 5/9 quantile of the honest, 0.14 standard deviations up.
    assert abs(np.median(robust)) < 0.25
    assert 0.75 < np.ptp(robust) / np.ptp(plain) <= 1
    assert (robust_deviations(spoiled)[:100] < -1e5).all()
    assert not robust_deviations(np.ones((5, 2))).any()
    assert np.isnan(robust_deviations(np.array([[1.0], [np.nan], [2.0]]))[1, 0])


def test_the_trusted_quantile_keeps_its_rate_on_new_samples_of_any_distribution() -> None:
    draw, alarms = np.random.default_rng(2), []
    for _ in range(2000):
        known, new = draw.standard_cauchy(199), draw.standard_cauchy()
        alarms.append(new > trusted_threshold(known, 0.05))
    assert np.mean(alarms) == pytest.approx(0.05, abs=0.015)
    assert trusted_threshold(np.arange(99.0), 0.01) == 98.0
    with pytest.raises(UseError, match=r"98 trusted samples cannot tell .+: it takes 99"):
        trusted_threshold(np.arange(98.0), 0.01)


def test_the_mirrored_quantile_looks_at_the_good_side_only() -> None:
    deviations = np.random.default_rng(3).normal(size=(10_000, 1))
    before = mirrored_threshold(deviations, 0.01)
    assert before == pytest.approx(2.33, abs=0.1)
    deviations[deviations[:, 0] < -1] = -1e9
    assert mirrored_threshold(deviations, 0.01) == before


def test_the_chance_of_as_many_flags_is_that_of_the_binomial_distribution() -> None:
    stats = pytest.importorskip("scipy.stats")
    for flagged, units in ((0, 10), (1, 10), (3, 40), (40, 40), (700, 60_000)):
        expected = stats.binom.sf(flagged - 1, units, 0.01)
        assert chance_of_as_many(flagged, units, 0.01) == pytest.approx(expected, rel=1e-6, abs=1e-300)


def test_who_helps_one_task_against_another_or_turns_in_time_is_named(tmp_path: Path) -> None:
    draw = np.random.default_rng(4)
    values = 0.01 * draw.normal(size=(40, 3, 2))
    values[:, 0] += 0.05  # ann helps both
    values[:, 1, 0] += 0.05  # bob helps the one against the other
    values[:, 1, 1] -= 0.05
    values[:20, 2] += 0.05  # eve turns
    values[20:, 2] -= 0.04
    record = timed(values, tmp_path)
    by_name = dict(zip(NAMES, courses(record, 0.01), strict=True))
    assert [course.helps for course in by_name["ann"]] == [1, 1]
    assert [course.helps for course in by_name["bob"]] == [1, -1]
    assert [(course.early_helps, course.late_helps) for course in by_name["eve"]] == [(1, -1)] * 2
    assert by_name["eve"][0].early + by_name["eve"][0].late == pytest.approx(by_name["eve"][0].value)
    found = {one.name: one for one in poison(record, tmp_path, tmp_path / "out").suspects}
    assert (found["bob"].opposed, found["bob"].turned) == (["two"], [])
    assert (found["eve"].turned, found["ann"].opposed) == (["one", "two"], [])


def timed(values: Any, folder: Path) -> RunRecord:
    count = len(values)
    loss = -np.cumsum(values.sum(axis=1), axis=0)
    zero = np.zeros((count, 2))
    before = np.vstack([np.zeros(2), loss[:-1]])
    steps = Steps(before, loss, values, zero, zero, np.full(count, 2), np.ones((count, 3)))
    with ScoreWriter(folder / "t.parquet", NAMES, ["one", "two"]) as writer:
        writer.add(0, np.arange(3), np.arange(3), values.sum(axis=0))
    return RunRecord(NAMES, ["one", "two"], np.array([0.5, 0.5]), steps, scores=folder / "t.parquet")


def test_records_of_planted_noise_are_suspicious_and_left_out(planted: Planted, tmp_path: Path) -> None:  # noqa: F811
    sources, _, run, record = planted
    found = poison(record, run, tmp_path / "out", sources=sources, false_alarms=0.02, show=8)
    noise = {("b1", n) for n in range(3, 60, 10)}
    assert len(noise & {(sample.dataset, sample.sample) for sample in found.worst}) >= 5
    assert found.suspects[0].name == "bob"
    assert all(sample.text for sample in found.worst)
    rows = pq.read_table(tmp_path / "out" / "keep.parquet").to_pylist()
    assert len([row for row in rows if not row["keep"] and (row["dataset"], row["record"]) in noise]) >= 5


def test_what_makes_no_sense_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    record = attacked(tmp_path / "s.parquet", {}, ["clean"])
    for options, said in (
        ({"trusted": ["zoe"]}, "no contributor 'zoe'"),
        ({"tasks": ["dirty"]}, "no task 'dirty'"),
        ({"tasks": ["clean", "clean"]}, "each task once"),
        ({"false_alarms": 1.0}, "between 0 and 1"),
        ({"false_alarms": math.nan}, "between 0 and 1"),
        ({"trusted": ["ann"], "false_alarms": 0.001}, "it takes 999"),
    ):
        with pytest.raises(UseError, match=said):
            poison(record, tmp_path, tmp_path / "out", **options)  # type: ignore[arg-type]
    bare = RunRecord(["ann"], ["one"], np.ones(1), Steps.of([], 1, 1))
    with pytest.raises(MissingFromRunError, match="--scores"):
        poison(bare, tmp_path, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["s.parquet"]
