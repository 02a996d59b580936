"""The run record: a folder that says when any byte of it was changed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as draw_from

from attribution.errors import RecordError
from attribution.record import IDENTITY, MANIFEST, SCORES, STEPS, VALUATIONS, VALUES, RunRecord, Steps, Valuation
from attribution.scores import ScoreWriter, read_scores
from tests.alone import alone


def record(steps: int = 5, contributors: int = 3, tasks: int = 2, **options: object) -> RunRecord:
    rng = np.random.default_rng(0)
    length = options.pop("length", None)
    values = rng.normal(size=(steps, contributors, tasks))
    house, gap = rng.normal(size=(steps, tasks)), rng.normal(size=(steps, tasks)) * 1e-3
    losses = 4 - np.vstack([np.zeros(tasks), np.cumsum(values.sum(1) + house + gap, axis=0)])
    table = Steps(
        losses[:-1],
        losses[1:],
        values,
        house,
        gap,
        np.full(steps, 2),
        rng.integers(0, 9, (steps, contributors)),
        length,
    )
    names = [f"contributor {c}" for c in range(contributors)]
    return RunRecord(names, [f"task {t}" for t in range(tasks)], np.full(tasks, 1 / tasks), table, **options)


def another_path(run: RunRecord, **options: object) -> Valuation:
    """A valuation of the same run that gives all to the first contributor."""
    values = np.zeros(run.values.shape)
    values[0] = run.improvement - run.house
    return Valuation(values, run.house, run.improvement - values.sum(0) - run.house, **options)


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    """A file of sample scores, as the meter leaves it."""
    with ScoreWriter(tmp_path / "elsewhere" / "run.parquet", ["contributor 0"], ["task 0", "task 1"]) as writer:
        writer.add(0, ["x", "y"], [0, 0], [[0.5, 1.0], [2.0, -1.0]])
    return writer.path


@pytest.fixture
def full(scores: Path) -> RunRecord:
    """A record of everything that one can hold."""
    errors = np.full((3, 2), 0.25)
    beside = {"run": another_path(record(), details={"every": "run"}, nodes=6)}
    beside["10 steps"] = another_path(record(), standard_errors=errors)
    return record(length=[4, 0, 4, 4, 2], beside=beside, standard_errors=errors / 2, scores=scores)


def rewrite(folder: Path, **change: object) -> None:
    """Change the manifest, and what names it."""
    manifest = {**json.loads((folder / MANIFEST).read_text()), **change}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    (folder / IDENTITY).write_text(hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest() + "\n")


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


EVERY_FILE = pytest.mark.parametrize("name", [MANIFEST, IDENTITY, STEPS, VALUES, VALUATIONS, SCORES])


@EVERY_FILE
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(place=draw_from.floats(0, 1, exclude_max=True), flip=draw_from.integers(1, 255))
def test_any_changed_byte_is_an_error_that_names_the_file(
    full: RunRecord, tmp_path_factory: pytest.TempPathFactory, name: str, place: float, flip: int
) -> None:
    folder = full.save(tmp_path_factory.mktemp("run") / "run")
    content = bytearray((folder / name).read_bytes())
    content[int(place * len(content))] ^= flip
    (folder / name).unlink()  # scores are a hard link
    (folder / name).write_bytes(content)
    with pytest.raises(RecordError, match=name if name != IDENTITY else MANIFEST):
        RunRecord.load(folder)


@EVERY_FILE
def test_a_missing_file_is_an_error_that_names_it(full: RunRecord, tmp_path: Path, name: str) -> None:
    folder = full.save(tmp_path / "run")
    (folder / name).unlink()
    with pytest.raises(RecordError, match=name):
        RunRecord.load(folder)


@pytest.mark.parametrize("change", [{"tables": None}, {"format": "other/9"}, {"tasks": 7}, {"weights": "much"}])
def test_a_manifest_that_is_none_is_refused_even_with_a_fitting_identity(tmp_path, change: dict) -> None:
    folder = record().save(tmp_path / "run")
    rewrite(folder, **change)
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
        {"weights": np.array([1.5, -0.5])},
        {"weights": np.array([np.nan, 0.5])},
        {"standard_errors": np.zeros((2, 2))},
        {"standard_errors": np.full((3, 2), -1.0)},
        {"standard_errors": np.full((3, 2), np.nan)},
        {"beside": {"": another_path(record())}},
        {"beside": {"run": another_path(record(contributors=2))}},
        {"beside": {"run": another_path(record(steps=4))}},
        {"beside": {"run": replace(another_path(record()), gap=np.array([1e-3, 0.0]))}},
        {"beside": {"run": replace(another_path(record()), gap=np.array([np.nan, 0.0]))}},
        {"details": {"telescopes": True}},
    ],
)
def test_parts_that_do_not_fit_are_refused(change: dict) -> None:
    run = record()
    parts = {"contributors": run.contributors, "tasks": run.tasks, "weights": run.weights, "steps": run.steps}
    with pytest.raises(RecordError):
        RunRecord(**{**parts, **change})


def test_arrays_cannot_be_changed_in_place() -> None:
    run = record()
    for array in (run.values, run.steps.values, run.weights, run.steps.length, another_path(run).values):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_a_manifest_that_is_no_json_is_refused() -> None:
    with pytest.raises(RecordError, match="canonical"):
        _ = record(details={"seeds": float("nan")}).identity


def test_reading_a_record_needs_no_torch() -> None:
    code = "import sys, attribution, attribution.record; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_everything_a_record_can_hold_is_loaded_again(full: RunRecord, tmp_path: Path) -> None:
    loaded = RunRecord.load(full.save(tmp_path / "run"))
    assert loaded.identity == full.identity
    assert loaded.steps.length.tolist() == [4, 0, 4, 4, 2]
    assert loaded.steps.first.tolist() == [0, 4, 4, 8, 12]
    assert [step.length for step in loaded.steps] == [4, 0, 4, 4, 2]
    assert (loaded.manifest["steps"], loaded.manifest["segments"]) == (14, 5)
    assert (loaded.standard_errors == full.standard_errors).all()
    assert list(loaded.beside) == ["10 steps", "run"]
    for name, found in loaded.beside.items():
        saved = full.beside[name]
        assert (found.values == saved.values).all()
        assert (found.house == saved.house).all()
        assert (found.gap == saved.gap).all()
        assert (found.nodes, found.details) == (saved.nodes, saved.details)
    assert loaded.beside["run"].standard_errors is None
    assert (loaded.beside["10 steps"].standard_errors == 0.25).all()
    assert loaded.scores == tmp_path / "run" / SCORES
    assert RunRecord.load(loaded.save(tmp_path / "moved")).identity == full.identity


def test_what_a_record_does_not_hold_leaves_no_table(tmp_path: Path) -> None:
    folder = record().save(tmp_path / "run")
    assert {path.name for path in folder.iterdir()} == {MANIFEST, IDENTITY, STEPS, VALUES}
    assert pq.read_schema(folder / VALUES).names == ["contributor", "task", "value_nats"]
    loaded = RunRecord.load(folder)
    assert (loaded.beside, loaded.standard_errors, loaded.scores, loaded.telescopes) == ({}, None, None, True)


def test_a_table_of_values_is_read_by_name_elsewhere(full: RunRecord, tmp_path: Path) -> None:
    rows = pq.read_table(full.save(tmp_path / "run") / VALUATIONS).to_pylist()
    assert len(rows) == 2 * 3 * 2
    assert rows[6] == {
        "valuation": "run",
        "contributor": "contributor 0",
        "task": "task 0",
        "value_nats": full.beside["run"].values[0, 0],
        "standard_error": None,
    }
    assert rows[1]["standard_error"] == 0.25
    assert pq.read_table(tmp_path / "run" / VALUES)["standard_error"].to_pylist() == [0.125] * 6


@pytest.mark.parametrize("name", [VALUES, VALUATIONS])
def test_a_table_of_others_values_is_refused_even_with_fitting_hashes(
    full: RunRecord, tmp_path: Path, name: str
) -> None:
    folder = full.save(tmp_path / "run")
    rows = pq.read_table(folder / name)
    pq.write_table(rows.take([2, 3, 0, 1, *range(4, len(rows))]), folder / name)
    tables = json.loads((folder / MANIFEST).read_text())["tables"]
    rewrite(folder, tables={**tables, name: hashlib.sha256((folder / name).read_bytes()).hexdigest()})
    with pytest.raises(RecordError, match="contributors"):
        RunRecord.load(folder)


def test_a_record_saved_before_segments_had_lengths_has_steps_of_one(tmp_path: Path) -> None:
    saved = record()
    folder = saved.save(tmp_path / "run")
    pq.write_table(pq.read_table(folder / STEPS).drop_columns(["length"]), folder / STEPS)
    manifest = json.loads((folder / MANIFEST).read_text())
    for key in ("segments", "telescopes", "improvement_is", "beside"):
        del manifest[key]
    manifest["tables"][STEPS] = hashlib.sha256((folder / STEPS).read_bytes()).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(manifest))
    rewrite(folder, format="ghostledger-run/1")
    loaded = RunRecord.load(folder)
    assert loaded.steps.length.tolist() == [1] * 5
    assert (loaded.improvement == saved.improvement).all()
    assert (loaded.telescopes, loaded.beside, loaded.details) == (True, {}, {})


@pytest.mark.parametrize("length", [[1, 1, 1, 1], [1, 1, 1, 1, -1], [[1, 1, 1, 1, 1]]])
def test_a_length_is_a_number_of_steps_for_each_segment(length: list[int]) -> None:
    with pytest.raises(RecordError, match="length"):
        record(length=length)


@pytest.mark.parametrize("telescopes", [True, False])
def test_improvement_is_values_plus_house_plus_gap_whether_or_not_the_losses_telescope(
    tmp_path: Path, telescopes: bool
) -> None:
    run = record()
    # Another validation batch each step: the same differences, from other levels.
    levels = np.random.default_rng(1).normal(size=(5, 2)) * (not telescopes)
    steps = replace(run.steps, loss_before=run.steps.loss_before + levels, loss_after=run.steps.loss_after + levels)
    found = RunRecord.load(replace(run, steps=steps, telescopes=telescopes).save(tmp_path / "run"))
    assert found.telescopes is telescopes
    assert found.improvement == pytest.approx(run.improvement, abs=1e-12)
    assert found.gap == pytest.approx(run.steps.gap.sum(0), abs=1e-12)
    assert found.manifest["totals"]["improvement"] == found.improvement.tolist()
    assert ("own validation batch" in found.manifest["improvement_is"]) is not telescopes


def test_other_weights_leave_the_values_as_they_are(full: RunRecord, tmp_path: Path) -> None:
    changed = full.with_weights({"task 1": 0.25, "task 0": 0.75})
    loaded = RunRecord.load(changed.save(tmp_path / "run"))
    assert loaded.weights.tolist() == [0.75, 0.25]
    assert loaded.identity != full.identity
    assert loaded.details["reweighted"] == {"from": full.identity, "weights": {"task 0": 0.5, "task 1": 0.5}}
    kept = ("contributors", "tasks", "telescopes", "complete", "stopped", "beside", "totals", "steps")
    assert {key: loaded.manifest[key] for key in kept} == {key: full.manifest[key] for key in kept}
    assert loaded.manifest["tables"] == full.manifest["tables"]
    again = loaded.with_weights({"task 0": 0.0, "task 1": 1.0})
    assert again.details == loaded.details
    assert again.identity == full.with_weights({"task 0": 0.0, "task 1": 1.0}).identity


@pytest.mark.parametrize(
    "weights", [{"task 0": 1.0}, {"task 0": 0.5, "task 1": 0.6}, {"task 0": 1.5, "task 1": -0.5}, {"a": 0.5, "b": 0.5}]
)
def test_weights_that_do_not_fit_the_tasks_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(RecordError, match="weights"):
        record().with_weights(weights)


def test_scores_go_into_the_folder_without_being_copied_where_they_need_not(
    full: RunRecord, scores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked = full.save(tmp_path / "linked") / SCORES
    assert linked.samefile(scores)

    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    copied = full.save(tmp_path / "copied") / SCORES
    assert not copied.samefile(scores)
    scores.unlink()
    assert [batch.num_rows for batch in read_scores(RunRecord.load(tmp_path / "copied").scores)] == [2]
    assert full.save(tmp_path / "linked") == tmp_path / "linked"


def test_scores_that_changed_before_they_were_saved_are_refused(full: RunRecord, scores: Path, tmp_path: Path) -> None:
    assert full.identity
    scores.write_bytes(scores.read_bytes() + b"x")
    with pytest.raises(RecordError, match="changed"):
        full.save(tmp_path / "run")
    scores.unlink()
    with pytest.raises(RecordError, match="run"):
        full.save(tmp_path / "run")
    assert not (tmp_path / "run").exists()


@alone
def test_scores_are_hashed_without_being_read_whole(tmp_path: Path) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(64 << 20)
    tracemalloc.start()
    folder = record(scores=large).save(tmp_path / "run")
    assert RunRecord.load(folder).scores == folder / SCORES
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()
