"""The picture of a run: it is there, it shows the run, and its labels do not collide."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.errors import RecordError
from attribution.record import RunRecord, Steps
from attribution.training.picture import draw, spread


def record(contributors: int, tasks: int, steps: int = 30, seed: int = 0) -> RunRecord:
    chance = np.random.default_rng(seed)
    values = chance.normal(0.01, 0.02, (steps, contributors, tasks))
    improvement = values.sum(axis=1)
    after = 7.0 - np.cumsum(improvement, axis=0)
    zero = np.zeros((steps, tasks))
    return RunRecord(
        contributors=[f"contributor-{number}" for number in range(contributors)],
        tasks=[f"task-{number}" for number in range(tasks)],
        weights=np.full(tasks, 1 / tasks),
        steps=Steps(after + improvement, after, values, zero, zero, np.full(steps, 2), np.ones((steps, contributors))),
    )


@pytest.mark.parametrize(("contributors", "tasks"), [(1, 1), (10, 2), (7, 3), (40, 2), (5, 9)])
def test_a_picture_is_written_and_full_of_ink(contributors: int, tasks: int, tmp_path: Path) -> None:
    path = tmp_path / "made" / "picture.png"
    draw(record(contributors, tasks), path)
    image = matplotlib.image.imread(path)[:, :, :3]
    assert image.shape[0] > 800
    assert image.shape[1] > 1200
    assert 0.01 < (image.min(axis=2) < 0.95).mean() < 0.5
    assert len(np.unique((image * 15).astype(int).reshape(-1, 3), axis=0)) > 20


def test_another_run_gives_another_picture_and_the_same_run_the_same(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        draw(record(6, 2, seed=seed), tmp_path / name)
    contents = [(tmp_path / name).read_bytes() for name in "abc"]
    assert contents[0] == contents[1] != contents[2]


def test_a_run_without_steps_is_refused() -> None:
    with pytest.raises(RecordError, match="no steps"):
        draw(record(2, 1, steps=0), Path("never.png"))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=15))
def test_labels_keep_their_distance_and_order_and_stay_inside(wanted: list[float]) -> None:
    wanted.sort(reverse=True)
    places = spread(wanted, 0.05, 0.0, 1.0)
    assert len(places) == len(wanted)
    assert all(above - below >= 0.05 * 0.99 for above, below in pairwise(places))
    assert all(-1e-9 <= place <= 1 + 1e-9 for place in places)


def test_labels_with_room_stay_where_they_want_to_be() -> None:
    assert spread([0.9, 0.5, 0.1], 0.05, 0.0, 1.0) == [0.9, 0.5, 0.1]
