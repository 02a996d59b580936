"""The run record: a folder that says when any byte of it was changed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as draw_from

from attribution.errors import RecordError
from attribution.record import IDENTITY, MANIFEST, STEPS, VALUES, RunRecord, Steps


def record(steps: int = 5, contributors: int = 3, tasks: int = 2, **options: object) -> RunRecord:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(steps, contributors, tasks))
    house, gap = rng.normal(size=(steps, tasks)), rng.normal(size=(steps, tasks)) * 1e-3
    losses = 4 - np.vstack([np.zeros(tasks), np.cumsum(values.sum(1) + house + gap, axis=0)])
    table = Steps(
        losses[:-1], losses[1:], values, house, gap, np.full(steps, 2), rng.integers(0, 9, (steps, contributors))
    )
    names = [f"contributor {c}" for c in range(contributors)]
    return RunRecord(names, [f"task {t}" for t in range(tasks)], np.full(tasks, 1 / tasks), table, **options)


def test_what_is_loaded_is_what_was_saved(tmp_path) -> None:
    saved = record(details={"seeds": {"torch": 1}, "note": "größer als ½"}, complete=False, stopped="by hand")
    loaded = RunRecord.load(saved.save(tmp_path / "run"))
    assert loaded.identity == saved.identity
    assert (loaded.values == saved.values).all()
    assert (loaded.steps.values == saved.steps.values).all()
    assert (loaded.complete, loaded.stopped) == (False, "by hand")
    assert loaded.details["note"] == "größer als ½"
    assert loaded.manifest == json.loads((tmp_path / "run" / MANIFEST).read_text())


def test_totals_are_the_sums_of_the_steps() -> None:
    run = record()
    assert run.values == pytest.approx(sum(step.values for step in run.steps))
    assert run.improvement == pytest.approx(run.values.sum(0) + run.house + run.gap)
    assert run.improvement == pytest.approx(run.steps[0].loss_before - run.steps[-1].loss_after)
    assert len(run.steps[1:3]) == 2
    assert run.steps[-1].index == 4


@pytest.mark.parametrize("name", [MANIFEST, IDENTITY, STEPS, VALUES])
@given(place=draw_from.floats(0, 1, exclude_max=True), flip=draw_from.integers(1, 255))
def test_any_changed_byte_is_an_error_that_names_the_file(tmp_path_factory, name: str, place: float, flip: int) -> None:
    folder = record().save(tmp_path_factory.mktemp("run") / "run")
    content = bytearray((folder / name).read_bytes())
    content[int(place * len(content))] ^= flip
    (folder / name).write_bytes(content)
    with pytest.raises(RecordError, match=name if name != IDENTITY else MANIFEST):
        RunRecord.load(folder)


@pytest.mark.parametrize("name", [MANIFEST, IDENTITY, STEPS, VALUES])
def test_a_missing_file_is_an_error_that_names_it(tmp_path, name: str) -> None:
    folder = record().save(tmp_path / "run")
    (folder / name).unlink()
    with pytest.raises(RecordError, match=name):
        RunRecord.load(folder)


@pytest.mark.parametrize("change", [{"tables": None}, {"format": "other/9"}, {"tasks": 7}, {"weights": "much"}])
def test_a_manifest_that_is_none_is_refused_even_with_a_fitting_identity(tmp_path, change: dict) -> None:
    folder = record().save(tmp_path / "run")
    manifest = {**json.loads((folder / MANIFEST).read_text()), **change}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    (folder / IDENTITY).write_text(hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest() + "\n")
    with pytest.raises(RecordError, match=MANIFEST):
        RunRecord.load(folder)


def test_saving_over_something_else_is_refused_and_saving_again_is_not(tmp_path) -> None:
    run = record()
    run.save(tmp_path / "run")
    assert run.save(tmp_path / "run") == tmp_path / "run"
    with pytest.raises(RecordError, match="exists"):
        record(steps=4).save(tmp_path / "run")
    (tmp_path / "file").write_text("x")
    with pytest.raises(RecordError, match="exists"):
        run.save(tmp_path / "file")


def test_a_run_without_steps_is_a_record_too(tmp_path) -> None:
    run = RunRecord.load(record(steps=0).save(tmp_path / "run"))
    assert (run.values == 0).all()
    assert (run.improvement == 0).all()


@pytest.mark.parametrize(
    "change",
    [
        {"contributors": ["a", "a", "b"]},
        {"contributors": ["a", "b"]},
        {"tasks": []},
        {"weights": np.array([0.5, 0.6])},
        {"weights": np.array([1.0])},
    ],
)
def test_parts_that_do_not_fit_are_refused(change: dict) -> None:
    run = record()
    parts = {"contributors": run.contributors, "tasks": run.tasks, "weights": run.weights, "steps": run.steps}
    with pytest.raises(RecordError):
        RunRecord(**{**parts, **change})


def test_arrays_cannot_be_changed_in_place() -> None:
    run = record()
    for array in (run.values, run.steps.values, run.weights):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_a_manifest_that_is_no_json_is_refused() -> None:
    with pytest.raises(RecordError, match="canonical"):
        _ = record(details={"seeds": float("nan")}).identity


def test_reading_a_record_needs_no_torch() -> None:
    code = "import sys, attribution, attribution.record; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
