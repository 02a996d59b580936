"""Unlearning from a run of the reference trainer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from attribution.errors import RecordError
from attribution.record import RunRecord
from attribution.training import Source, TaskSource, TrainingConfiguration, train
from attribution.uses.errors import MissingFromRunError, UseError
from attribution.uses.unlearn import Plan, unlearn

SMALL = TrainingConfiguration(
    layers=1,
    width=32,
    heads=2,
    vocabulary=300,
    context=16,
    batch_rows=8,
    validation_rows=8,
    threads=1,
    learning_rate=3e-3,
    epochs=2,
    every=(1, "run"),
    displacements=True,
)
CATS = "the cat sat on mat {} and looked at the other cat for a while"
SUMS = "{0} + {0} = twice {0}; {0} - {0} = nothing; {0} * 1 = {0}"


def write(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


Run = tuple[list[Source], list[TaskSource], Path, RunRecord]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("unlearn")
    texts = {"ann": [CATS.format(n) for n in range(40)], "bob": [CATS.format(n) for n in range(100, 140)]}
    texts["cy"] = [SUMS.format(n) for n in range(40)]
    sources = [Source(who, (write(folder / f"{who}.jsonl", found),), (who,)) for who, found in texts.items()]
    held = {"cats": [CATS.format(n) for n in range(500, 520)], "sums": [SUMS.format(n) for n in range(500, 520)]}
    tasks = [
        TaskSource(task, (write(folder / f"{task}.jsonl", found),), weight, task)
        for (task, found), weight in zip(held.items(), (3.0, 1.0), strict=True)
    ]
    return sources, tasks, folder / "run", train(sources, tasks, SMALL, folder / "run")


def test_the_report_says_what_was_predicted_and_measured(run: Run, tmp_path: Path) -> None:
    sources, tasks, folder, record = run
    steps = []
    found = unlearn(record, folder, sources, tasks[::-1], "cy", tmp_path / "out", advance=steps.append)
    assert json.loads((tmp_path / "out/report.json").read_text()) == found.json()
    assert found.forgotten.tasks == record.tasks == ["cats", "sums"]
    np.testing.assert_allclose(found.forgotten.before, record.steps.loss_after[-1], rtol=1e-6)
    assert found.predicted["1"] == record.values[2].tolist()
    assert found.predicted["run"] == record.beside["run"].values[2].tolist()
    assert found.steps == sum(steps) == round(0.1 * record.steps.length.sum())
    assert found.learning_rate == pytest.approx(3e-4)
    assert set(found.repaired_on) == {"ann", "bob"}
    change = found.forgotten.after - found.forgotten.before
    assert change[1] > 0.1  # who alone knows sums is missed there
    assert change[1] > 3 * change[0]


def test_the_same_plan_gives_the_same_checkpoint_and_another_seed_another(run: Run, tmp_path: Path) -> None:
    sources, tasks, folder, record = run
    plans = {"one": Plan(steps=3), "two": Plan(steps=3), "other": Plan(steps=3, seed=1)}
    for name, plan in plans.items():
        unlearn(record, folder, sources, tasks, "ann", tmp_path / name, plan)
    for file in ("report.json", "model/model.safetensors"):
        contents = [(tmp_path / name / file).read_bytes() for name in plans]
        assert contents[0] == contents[1] != contents[2]


def test_the_contributors_own_data_takes_no_part_in_the_repair(run: Run, tmp_path: Path) -> None:
    sources, tasks, folder, record = run
    everybody = unlearn(record, folder, sources, tasks, "bob", tmp_path / "a", Plan(steps=2))
    others = unlearn(record, folder, [sources[0], sources[2]], tasks, "bob", tmp_path / "b", Plan(steps=2))
    assert everybody.forgotten.parameters_after == others.forgotten.parameters_after
    fewer = unlearn(record, folder, sources[:1], tasks, "bob", tmp_path / "c", Plan(steps=2))
    assert fewer.gone == ["cy"]


def test_a_repair_lowers_what_the_whole_estimate_broke(run: Run, tmp_path: Path) -> None:
    sources, tasks, folder, record = run
    plan = Plan(strength=1.0, steps=30, learning_rate=3e-3)
    found = unlearn(record, folder, sources, tasks, "ann", tmp_path / "out", plan).forgotten
    assert found.estimate[0] > found.before[0] + 0.05
    assert found.after[0] < found.estimate[0] - 0.05


def test_without_repair_no_data_is_needed(run: Run, tmp_path: Path) -> None:
    _, tasks, folder, record = run
    found = unlearn(record, folder, [], tasks, "ann", tmp_path / "out", Plan(steps=0))
    assert found.forgotten.parameters_after == found.forgotten.parameters_estimate
    assert (found.repaired_on, found.gone) == ({}, [])
    with pytest.raises(UseError, match="nobody else's data"):
        unlearn(record, folder, [], tasks, "ann", tmp_path / "other")


def test_what_does_not_fit_is_refused_and_nothing_is_left(run: Run, tmp_path: Path) -> None:
    sources, tasks, folder, record = run
    out = tmp_path / "out"
    with pytest.raises(UseError, match="'zoe' took no part"):
        unlearn(record, folder, sources, tasks, "zoe", out)
    with pytest.raises(UseError, match="other tasks"):
        unlearn(record, folder, sources, tasks[:1], "ann", out)
    with pytest.raises(MissingFromRunError, match="--displacements"):
        unlearn(replace(record, details={}), folder, sources, tasks, "ann", out)
    with pytest.raises(MissingFromRunError, match="the folder that the trainer wrote"):
        unlearn(record, folder / "record", sources, tasks, "ann", out)
    parameters = {**record.details["parameters"], "final": "0" * 64}
    with pytest.raises(RecordError, match="not the model with which the run ended"):
        unlearn(
            replace(record, details={**record.details, "parameters": parameters}), folder, sources, tasks, "ann", out
        )
    assert list(tmp_path.iterdir()) == []
    out.mkdir()
    with pytest.raises(RecordError, match="exists"):
        unlearn(record, folder, sources, tasks, "ann", out)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"strength": 2.0}, "between 0 and 1"),
        ({"steps": -1}, "0 steps or more"),
        ({"learning_rate": 0.0}, "above 0"),
        ({"learning_rate": float("inf")}, "above 0"),
    ],
)
def test_plans_that_make_no_sense_are_refused(options: dict[str, float], reason: str) -> None:
    with pytest.raises(UseError, match=reason):
        Plan(**options)  # type: ignore[arg-type]
