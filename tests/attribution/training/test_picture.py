"""The picture of a run: it is there, it shows the run, and its labels do not collide."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text

from attribution.errors import RecordError
from attribution.record import RunRecord, Steps
from attribution.training.picture import draw
from attribution.training.value_lines import spread


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


def shown(of: RunRecord, path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All text in the picture."""
    texts: list[str] = []
    save = Figure.savefig

    def listen(figure: Figure, *arguments: object, **options: object) -> None:
        texts.extend(text.get_text() for text in figure.findobj(Text))
        save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", listen)
    draw(of, path)
    return texts


def test_where_steps_have_validation_batches_of_their_own_no_loss_before_and_after_is_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = shown(record(4, 2), tmp_path / "a", monkeypatch)
    assert any(text.startswith("The model gained") for text in whole)
    assert any("→" in text for text in whole)
    drawn = shown(replace(record(4, 2), telescopes=False), tmp_path / "b", monkeypatch)
    assert any(text.startswith("Its steps gained") for text in drawn)
    assert any("each on a validation batch of its own" in text for text in drawn)
    assert not any("→" in text for text in drawn)


def test_a_path_over_several_steps_is_as_long_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = record(3, 1, steps=4)
    longer = replace(plain, steps=replace(plain.steps, length=np.array([5, 0, 5, 2])))
    assert any("3 contributors, 12 steps" in text for text in shown(longer, tmp_path / "a", monkeypatch))


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
