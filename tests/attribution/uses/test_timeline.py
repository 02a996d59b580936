"""Timelines: every step counts once, in its own part, and no path is cut."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.errors import RecordError
from attribution.record import RunRecord, Steps
from attribution.uses.errors import UseError
from attribution.uses.timeline import Span, ranking, timeline
from attribution.uses.timeline_picture import draw_timeline

WHO, TASKS = ("general", "own", "noise"), ("news", "code")


def record(lengths: list[int], seed: int = 0, tasks: tuple[str, ...] = TASKS, telescopes: bool = True) -> RunRecord:
    chance, n, t = np.random.default_rng(seed), len(lengths), len(tasks)
    values, house, gap = (chance.normal(size=size) for size in ((n, len(WHO), t), (n, t), (n, t)))
    drops = values.sum(axis=1) + house + gap
    after = 9.0 - np.cumsum(drops, axis=0) + (0.0 if telescopes else chance.normal(size=(n, 1)))
    counts = np.ones((n, len(WHO)))
    steps = Steps(after + drops, after, values, house, gap, np.full(n, 2), counts, np.array(lengths))
    return RunRecord(list(WHO), list(tasks), np.full(t, 1 / t), steps, telescopes=telescopes)


def by_steps(of: RunRecord, first: int, end: int, task: int) -> np.ndarray:
    """The values of the steps `first` to `end`, one path after another."""
    total, at = np.zeros(len(WHO)), 0
    for step in of.steps:
        if first <= at < end and at + step.length <= end:
            total += step.values[:, task]
        at += step.length
    return total


@settings(deadline=None)
@given(steps=st.integers(10, 60), parts=st.integers(1, 10), seed=st.integers(0, 9), telescopes=st.booleans())
def test_parts_hold_their_steps_values_and_sum_to_the_run(steps: int, parts: int, seed: int, telescopes: bool) -> None:
    of = record([1] * steps, seed, telescopes=telescopes)
    found = timeline(of, parts)
    assert found.tasks == ["objective", *TASKS]
    assert not found.moved
    ends = [part.end for part in found.parts]
    assert all(abs(end - steps * (n + 1) / parts) <= 0.5 for n, end in enumerate(ends))
    for task in range(2):
        for part in [*found.parts, found.early, found.late]:
            expected = by_steps(of, part.first, part.end, task)
            np.testing.assert_allclose(part.values[:, 1 + task], expected, atol=1e-12)
    np.testing.assert_allclose(sum(part.values[:, 1:] for part in found.parts), of.values, atol=1e-12)
    np.testing.assert_allclose(sum(part.improvement[1:] for part in found.parts), of.improvement, atol=1e-12)
    for part in [*found.parts, found.whole]:
        np.testing.assert_allclose(part.values.sum(axis=0) + part.house + part.gap, part.improvement, atol=1e-12)
        np.testing.assert_allclose(part.values[:, 0], part.values[:, 1:] @ of.weights, atol=1e-12)


def test_the_first_tenth_and_the_last_half_are_what_they_are_called() -> None:
    found = timeline(record([1] * 40), parts=3)
    assert (found.early.first, found.early.end) == (0, 4)
    assert (found.late.first, found.late.end) == (20, 40)
    assert [part.steps for part in found.parts] == [13, 14, 13]


def test_a_path_is_never_cut_and_what_stands_elsewhere_is_said() -> None:
    of = record([4] * 10)
    assert timeline(of, 5).moved == []
    found = timeline(of, 3)
    assert [part.end for part in found.parts] == [12, 28, 40]
    assert len(found.moved) == 2
    assert "part 1 stands at step 12 instead of 13.3333" in found.moved[0]
    np.testing.assert_allclose(found.parts[0].values[:, 1:], of.steps.values[:3].sum(axis=0))


def test_an_edit_by_hand_belongs_to_the_part_that_begins_with_it() -> None:
    of = record([1] * 10 + [0] + [1] * 10 + [0])
    first, second = timeline(of, 2).parts
    np.testing.assert_allclose(first.values[:, 1:], of.steps.values[:10].sum(axis=0))
    np.testing.assert_allclose(second.values[:, 1:], of.steps.values[10:].sum(axis=0))


def test_shares_are_of_the_contributors_own_value_and_of_the_steps() -> None:
    values = np.zeros((10, 3, 1))
    values[:, 0, 0] = [6, 2, 1, 1, 0, 0, 0, 0, 0, 0]  # helps early
    values[:, 1, 0] = [0, 0, 0, 0, 0, 0.4, 0.4, 0.4, 0.4, 0.4]  # helps late
    values[:, 2, 0] = -0.1
    drops, zero = values.sum(axis=1), np.zeros((10, 1))
    after = 20 - np.cumsum(drops, axis=0)
    steps = Steps(after + drops, after, values, zero, zero, np.full(10, 2), np.ones((10, 3)))
    found = timeline(RunRecord(list(WHO), ["news"], np.ones(1), steps))
    assert found.tasks == ["news"]
    assert found.own_share(found.early, 0, 0) == pytest.approx(0.6)
    assert found.own_share(found.late, 1, 0) == pytest.approx(1.0)
    assert found.own_share(found.late, 2, 0) is None  # a share of a loss says nothing
    early, late = found.early.shares(0), found.late.shares(0)
    assert early is not None
    assert late is not None
    np.testing.assert_allclose(early, np.array([6, 0, -0.1]) / 5.9)
    np.testing.assert_allclose(late, np.array([0, 2, -0.5]) / 1.5)
    assert list(ranking(found, 0)) == [0, 1, 2]
    stated = found.json()
    assert stated["early"]["share_of_own_value"][2] == [None]
    assert Span(0, 1, -np.ones((3, 1)), *[np.zeros(1)] * 3).shares(0) is None


def test_one_task_alone_has_no_objective_beside_it() -> None:
    of = record([1] * 20)
    found = timeline(of, 10, task="code")
    assert found.tasks == ["code"]
    np.testing.assert_allclose(found.whole.values[:, 0], of.values[:, 1])
    assert timeline(record([1] * 20, tasks=("objective", "b"))).tasks == ["the objective", "objective", "b"]


@pytest.mark.parametrize(
    ("lengths", "options", "reason"),
    [
        ([200], {}, "--every 1"),
        ([60, 60, 60, 60], {}, "--every 1"),
        ([1] * 8, {"parts": 9}, "fewer --parts"),
        ([5] * 20, {"parts": 30}, "fewer --parts"),
        ([1] * 20, {"parts": 0}, "one part or more"),
        ([1] * 20, {"task": "dogs"}, "'dogs'"),
    ],
)
def test_what_has_no_timeline_is_refused(lengths: list[int], options: dict[str, int], reason: str) -> None:
    with pytest.raises(UseError, match=reason):
        timeline(record(lengths), **options)


def test_a_run_without_steps_is_refused() -> None:
    of = record([1])
    empty = RunRecord(list(WHO), list(TASKS), of.weights, Steps.of([], 3, 2))
    with pytest.raises(RecordError, match="no steps"):
        timeline(empty)


def test_the_picture_has_a_row_a_task_and_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    of, heights = record([1] * 30), []
    for name, task in (("one", "news"), ("all", None), ("again", None)):
        draw_timeline(of, timeline(of, task=task), tmp_path / f"{name}.png")
        image = matplotlib.image.imread(tmp_path / f"{name}.png")[:, :, :3]
        assert 0.01 < (image.min(axis=2) < 0.9).mean() < 0.6
        heights.append(image.shape[0])
    assert heights[1] > 2 * heights[0]
    assert (tmp_path / "all.png").read_bytes() == (tmp_path / "again.png").read_bytes()
