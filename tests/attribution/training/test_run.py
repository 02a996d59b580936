"""A whole training run on real text: what it leaves behind, that it repeats, and how it ends early."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from transformers import GPT2LMHeadModel

from attribution.errors import AttributionError, RecordError
from attribution.record import RunRecord
from attribution.scores import score_totals
from attribution.training import Source, TaskSource, TrainingConfiguration, train
from attribution.training.corpus import objective, pack
from attribution.training.errors import ConfigurationError, LeakageError, TooLittleTextError
from attribution.training.loop import learning_rate_factor
from attribution.training.tokenizer import load_tokenizer
from attribution.uses.displaced import displacements_of
from attribution.uses.errors import MissingFromRunError

LIBRARY = Path(os.__file__).parent
SMALL = TrainingConfiguration(
    layers=1, width=32, heads=2, vocabulary=300, context=32, batch_rows=8, max_steps=8, validation_rows=4, threads=1
)


def library(name: str) -> Path:
    return LIBRARY / name


SOURCES = [
    Source("json", (library("json"),), ("f1",)),
    Source("mail", (library("mailbox.py"), library("smtplib.py")), ("f2", "f3")),
    Source("dates", (library("calendar.py"),), ("f4",)),
]
TASKS = [
    TaskSource("parsing", (library("configparser.py"),), 3.0, "t1"),
    TaskSource("numbers", (library("statistics.py"),), 1.0, "t2"),
]


@pytest.fixture(scope="module", autouse=True)
def _clean_library(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The standard library without compiled files, which are no text."""
    folder = tmp_path_factory.mktemp("library")
    for file in (LIBRARY / "json").glob("*.py"):
        shutil.copy(file, folder)
    SOURCES[0] = Source("json", (folder,), ("f1",))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunRecord, Path]:
    out = tmp_path_factory.mktemp("run") / "out"
    return train(SOURCES, TASKS, SMALL, out), out


def test_the_record_is_saved_and_says_what_was_trained_on(run: tuple[RunRecord, Path]) -> None:
    record, out = run
    loaded = RunRecord.load(out / "record")
    assert loaded.identity == record.identity
    assert loaded.complete
    assert loaded.contributors == ["json", "mail", "dates"]
    assert loaded.tasks == ["parsing", "numbers"]
    assert loaded.weights.tolist() == [0.75, 0.25]
    assert loaded.details["data"] == {"json": ["f1"], "mail": ["f2", "f3"], "dates": ["f4"]}
    assert loaded.details["objective"] == {"parsing": "t1", "numbers": "t2"}
    assert loaded.details["configuration"]["context"] == 32
    assert loaded.details["seeds"]["torch"] == 0
    assert sorted(path.name for path in out.iterdir()) == ["model", "record"]


def test_every_row_is_counted_and_all_improvement_accounted_for(run: tuple[RunRecord, Path]) -> None:
    record, _ = run
    assert len(record.steps) == 8
    assert record.steps.rows.sum(axis=1).tolist() == [8] * 8
    assert (record.improvement > 0.1).all()
    assert np.abs(record.gap @ record.weights) <= 1e-3 * (record.improvement @ record.weights)


def test_the_path_meets_its_tolerance_in_the_first_steps_of_a_transformer_under_adamw(tmp_path: Path) -> None:
    wild = SMALL.model_copy(update={"layers": 2, "width": 64, "max_steps": 50, "learning_rate": 2e-3, "warmup": 0.0})
    record = train(SOURCES, TASKS, wild, tmp_path / "out")
    assert (np.abs(record.gap) <= 1e-3 * np.abs(record.improvement)).all()
    assert record.steps.nodes.max() >= 5  # the ends alone, or a midpoint, would not have done


@pytest.mark.parametrize(
    ("changes", "beside"),
    [
        ({"method": "second_order"}, set()),
        ({"method": "exact", "max_steps": 2}, set()),
        ({"every": ("run",)}, set()),
        ({"every": (1, 3, "run")}, {"3 steps", "run"}),
        ({"memory": "ghost", "optimizer": "sgd", "momentum": 0.0}, set()),
    ],
)
def test_methods_lengths_of_path_and_memory_are_those_that_were_asked_for(
    changes: dict[str, object], beside: set[str], tmp_path: Path
) -> None:
    record = train(SOURCES, TASKS, SMALL.model_copy(update={"max_steps": 4, **changes}), tmp_path / "out")
    stated = record.details["method"]
    assert stated["name"] == changes.get("method", "path")
    assert stated["every"] == changes.get("every", (1,))[0]  # type: ignore[index]
    assert stated["memory"] == changes.get("memory", "buffered")
    assert set(record.beside) == beside
    assert record.steps.length.sum() == changes.get("max_steps", 4)
    tolerance = 0.2 if stated["name"] == "second_order" else 1e-3
    assert (np.abs(record.gap) <= tolerance * np.abs(record.improvement)).all()
    assert RunRecord.load(tmp_path / "out" / "record").identity == record.identity


def test_each_block_of_a_batch_has_a_score_under_a_name_that_finds_its_text(tmp_path: Path) -> None:
    asked = SMALL.model_copy(update={"scores": True, "max_steps": 3, "optimizer": "sgd", "momentum": 0.0})
    out = tmp_path / "out"
    record = train(SOURCES, TASKS, asked, out)
    assert record.scores == out / "record" / "scores.parquet"
    totals = score_totals(record.scores)
    assert totals["times"].to_pylist() == [1] * 24
    by_contributor = {name: np.zeros(2) for name in record.contributors}
    tokenizer = load_tokenizer(out / "model")
    packed = {
        source.contributor: pack("contributor", source.contributor, source.records(), tokenizer, 32, tmp_path / "again")
        for source in SOURCES
    }
    for row in totals.to_pylist():
        contributor, number, block = row["sample"].rsplit("/", 2)
        assert contributor == row["contributor"]
        by_contributor[contributor] += row["parsing"], row["numbers"]
        assert row["sample"] == packed[contributor].sample(int(block))
        source = next(source for source in SOURCES if source.contributor == contributor)
        assert list(source.records())[int(number)]
    assert np.array(list(by_contributor.values())) == pytest.approx(
        record.values, abs=1e-5 * np.abs(record.values).max()
    )
    assert sorted(path.name for path in out.iterdir()) == ["model", "record", "records.parquet"]


def test_the_memory_that_metering_takes_is_said_before_the_first_step(tmp_path: Path) -> None:
    console = Console(record=True, width=180, file=open(os.devnull, "w"))  # noqa: SIM115
    train(SOURCES, TASKS, SMALL.model_copy(update={"max_steps": 1}), tmp_path / "out", console=console)
    shown = console.export_text()
    assert shown.index("metering will take") < shown.index("1/1")


def test_the_saved_model_has_the_loss_that_the_record_ends_with(run: tuple[RunRecord, Path], tmp_path: Path) -> None:
    record, out = run
    model = GPT2LMHeadModel.from_pretrained(out / "model", local_files_only=True)
    tokenizer = load_tokenizer(out / "model")
    for index, task in enumerate(TASKS):
        held_out = pack("task", task.name, task.records(), tokenizer, 32, tmp_path / task.name)
        with torch.no_grad():
            loss = objective(held_out, rows=4, chunk_rows=8)(model).item()
        assert loss == pytest.approx(record.steps.loss_after[-1, index], rel=1e-5)


def test_the_same_seed_gives_the_same_values_and_another_seed_others(
    run: tuple[RunRecord, Path], tmp_path: Path
) -> None:
    record, _ = run
    again = train(SOURCES, TASKS, SMALL, tmp_path / "again")
    other = train(SOURCES, TASKS, SMALL.model_copy(update={"seed": 1}), tmp_path / "other")
    assert (again.values == record.values).all()
    assert (again.steps.loss_after == record.steps.loss_after).all()
    assert (other.values != record.values).any()


def test_the_callers_torch_settings_do_not_change_the_values(run: tuple[RunRecord, Path], tmp_path: Path) -> None:
    record, _ = run
    torch.manual_seed(99)
    torch.set_default_dtype(torch.float64)  # the tests' conftest restores it
    assert (train(SOURCES, TASKS, SMALL, tmp_path / "out").values == record.values).all()
    assert torch.get_default_dtype() is torch.float64


def test_training_leaves_torch_and_ctrl_c_as_they_were(tmp_path: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    handler = signal.getsignal(signal.SIGINT)
    train(SOURCES, TASKS, SMALL.model_copy(update={"max_steps": 1}), tmp_path / "out")
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_checkpoint_by_path_is_trained_further_with_its_own_tokenizer(
    run: tuple[RunRecord, Path], tmp_path: Path
) -> None:
    record, out = run
    further = TrainingConfiguration(
        model=out / "model", context=32, batch_rows=8, max_steps=2, validation_rows=4, optimizer="sgd"
    )
    continued = train(SOURCES, TASKS, further, tmp_path / "out")
    assert continued.steps.loss_before[0] == pytest.approx(record.steps.loss_after[-1], rel=1e-5)


def test_several_epochs_draw_every_block_as_often(tmp_path: Path) -> None:
    once = SMALL.model_copy(update={"max_steps": None, "batch_rows": 20, "context": 512, "validation_rows": 1})
    twice = once.model_copy(update={"epochs": 2})
    first, second = (train(SOURCES[1:], TASKS, c, tmp_path / n) for c, n in ((once, "once"), (twice, "twice")))
    counts = [first.details["corpus"][name]["blocks"] for name in first.contributors]
    assert first.rows.tolist() == counts
    assert second.rows.tolist() == [2 * count for count in counts]


def test_the_progress_bar_shows_loss_speed_and_the_leaders(tmp_path: Path) -> None:
    console = Console(record=True, force_terminal=True, width=180, file=open(os.devnull, "w"))  # noqa: SIM115
    train(SOURCES, TASKS, SMALL, tmp_path / "out", console=console)
    shown = console.export_text()
    assert "8/8" in shown
    assert "tokens/s" in shown
    assert "leading: " in shown
    assert any(source.contributor + " +" in shown for source in SOURCES)


def test_a_loss_that_is_not_finite_leaves_a_partial_record_with_the_reason(tmp_path: Path) -> None:
    wild = SMALL.model_copy(
        update={"optimizer": "sgd", "learning_rate": 1e18, "clip_norm": None, "warmup": 0.0, "method": "first_order"}
    )
    record = train(SOURCES, TASKS, wild, tmp_path / "out")
    assert not record.complete
    assert record.stopped is not None
    assert "not finite" in record.stopped
    assert RunRecord.load(tmp_path / "out" / "record").stopped == record.stopped


INTERRUPTED = """
import sys
from pathlib import Path
from attribution.training import Source, TaskSource, TrainingConfiguration, train
import attribution.training.progress as progress
import attribution.training.run as run
from contextlib import contextmanager

class Announcer:
    def step(self, loss_nats, tokens, meter):
        print("step", flush=True)

@contextmanager
def announce(*arguments):
    yield Announcer()

run.progress_on = announce
library = Path({library!r})
record = train(
    [Source("mail", (library / "mailbox.py",), ("f",)), Source("dates", (library / "calendar.py",), ("g",))],
    [TaskSource("parsing", (library / "configparser.py",), 1.0, "t")],
    TrainingConfiguration(layers=1, width=32, heads=2, vocabulary=300, context=32, batch_rows=8, epochs=1000,
                          validation_rows=2, threads=1),
    Path({out!r}),
)
print(f"complete={{record.complete}}", flush=True)
"""


def test_ctrl_c_stops_after_the_step_and_leaves_a_readable_partial_record(tmp_path: Path) -> None:
    out = tmp_path / "out"
    program = INTERRUPTED.format(library=str(LIBRARY), out=str(out))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(3):
            assert process.stdout.readline() == "step\n"
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert rest.endswith("complete=False\n")
    record = RunRecord.load(out / "record")
    assert not record.complete
    assert record.stopped == f"interrupted by the user at step {len(record.steps)}"
    assert len(record.steps) >= 3
    assert record.values.sum() + record.house.sum() + record.gap.sum() == pytest.approx(record.improvement.sum())


def held_out_copy(folder: Path) -> Source:
    shutil.copy(library("configparser.py"), folder / "copy.py")
    return Source("copyist", (folder,), ("c",))


def test_copying_the_objective_is_refused_or_reported(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    sources = [*SOURCES, held_out_copy(tmp_path / "data")]
    with pytest.raises(LeakageError, match="1 of task 'parsing' in the data of 'copyist'"):
        train(sources, TASKS, SMALL, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    reported = train(sources, TASKS, SMALL.model_copy(update={"overlap": "report"}), tmp_path / "out")
    assert reported.details["overlap"] == {"copyist": {"parsing": 1}}


def short_source(folder: Path) -> Source:
    (folder / "short.txt").write_text("hello")
    return Source("short", (folder / "short.txt",), ("s",))


def test_bad_input_is_refused_with_nothing_written(tmp_path: Path) -> None:
    out = tmp_path / "out"
    cases: list[tuple[type[AttributionError], list[Source], list[TaskSource], str]] = [
        (ConfigurationError, [], TASKS, "at least one contributor"),
        (ConfigurationError, SOURCES, [], "at least one task"),
        (ConfigurationError, [SOURCES[0], SOURCES[0]], TASKS, "'json' is given twice"),
        (ConfigurationError, SOURCES, [TaskSource("a", TASKS[0].paths, 0.0, "t")], "weight above zero"),
        (TooLittleTextError, [*SOURCES, short_source(tmp_path)], TASKS, "contributor 'short' has"),
    ]
    for error, sources, tasks, said in cases:
        with pytest.raises(error, match=said):
            train(sources, tasks, SMALL, out)
        assert not out.exists()


def test_a_folder_with_a_run_in_it_is_refused_untouched(run: tuple[RunRecord, Path]) -> None:
    record, out = run
    with pytest.raises(ConfigurationError, match="exists already"):
        train(SOURCES, TASKS, SMALL, out)
    assert json.loads((out / "record" / "manifest.json").read_bytes()) == record.manifest


def test_the_learning_rate_rises_then_falls_to_a_tenth() -> None:
    rates = [learning_rate_factor(step, 100, 0.1) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1.0
    assert all(a <= b for a, b in pairwise(rates[:10]))
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert rates[-1] == pytest.approx(0.1, abs=1e-3)
    assert learning_rate_factor(0, 1, 0.0) == 1.0


def test_displacements_are_kept_where_asked_for_and_pinned_by_the_manifest(tmp_path: Path) -> None:
    chosen = SMALL.model_copy(update={"displacements": True})
    record = train(SOURCES, TASKS, chosen, tmp_path / "run")
    assert RunRecord.load(tmp_path / "run" / "record").identity == record.identity
    kept = displacements_of(record, tmp_path / "run")
    model = GPT2LMHeadModel.from_pretrained(tmp_path / "run" / "model")
    assert kept.end == pytest.approx(kept.flat(model), abs=1e-6)
    assert kept.of("json").norm() > 0
    file = tmp_path / "run" / "displacements.safetensors"
    changed = bytearray(file.read_bytes())
    changed[-1] ^= 1
    file.write_bytes(changed)
    with pytest.raises(RecordError, match="changed since it was written"):
        displacements_of(record, tmp_path / "run")
    file.unlink()
    with pytest.raises(MissingFromRunError, match=r"displacements\.safetensors"):
        displacements_of(record, tmp_path / "run")


def test_a_run_without_displacements_says_how_to_keep_them(run: tuple[RunRecord, Path]) -> None:
    record, folder = run
    with pytest.raises(MissingFromRunError, match="--displacements"):
        displacements_of(record, folder)
