"""Sample scores on disk: whole or not there, and never whole in memory."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as draw_from

from attribution import scores as module
from attribution.errors import AttributionError, BatchError, NonFiniteError, OptionError, RecordError
from attribution.scores import ROW_GROUP, ScoreWriter, read_scores, score_columns, score_totals

PEOPLE, TASKS = ["ann", "ben", "cyd"], ["sport", "business"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "scores.parquet"


def table(path: Path) -> pa.Table:
    return pa.Table.from_batches(read_scores(path))


def test_what_is_read_is_what_was_added(file: Path) -> None:
    with ScoreWriter(file, PEOPLE, TASKS) as writer:
        writer.add(0, [7, 8], [0, 2], [[0.5, -1.0], [0.25, 2.0]])
        writer.add(3, np.array([7]), np.array([0]), np.array([[1e-300, 1.0]]))
    assert table(file).to_pydict() == {
        "step": [0, 0, 3],
        "sample": [7, 8, 7],
        "contributor": ["ann", "cyd", "ann"],
        "sport": [0.5, 0.25, 1e-300],
        "business": [-1.0, 2.0, 1.0],
    }
    assert table(file).schema.field("contributor").type == pa.dictionary(pa.int32(), pa.string())


@pytest.mark.parametrize(
    ("samples", "kind"),
    [
        ([3, 4], pa.int64()),
        ((3, np.int32(4)), pa.int64()),
        (np.array([3, 4], dtype=np.uint8), pa.int64()),
        (["a.txt:3", "ß"], pa.string()),
        (np.array(["a", "b"]), pa.string()),
        (np.array(["a", "b"], dtype=object), pa.string()),
    ],
)
def test_samples_are_named_by_whole_numbers_or_by_text(file: Path, samples: object, kind: pa.DataType) -> None:
    with ScoreWriter(file, PEOPLE, ["loss"]) as writer:
        writer.add(0, samples, [0, 1], [[1.0], [2.0]])
    assert table(file)["sample"].to_pylist() == list(samples)
    assert table(file).schema.field("sample").type == kind


@pytest.mark.parametrize(
    ("samples", "who", "scores", "error"),
    [
        ([1, "a"], [0, 1], [[1.0], [1.0]], BatchError),
        ([1.5, 2.0], [0, 1], [[1.0], [1.0]], BatchError),
        ([True, False], [0, 1], [[1.0], [1.0]], BatchError),
        ([2**63, 1], [0, 1], [[1.0], [1.0]], BatchError),
        (np.zeros((2, 1), dtype=np.int64), [0, 1], [[1.0], [1.0]], BatchError),
        (["a", "b"], [0, 1], [[1.0], [1.0]], BatchError),  # after whole numbers
        ([1, 2], [0], [[1.0], [1.0]], BatchError),
        ([1, 2], [0, 1], [1.0, 1.0], BatchError),
        ([1, 2], [0, 1], [[1.0]], BatchError),
        ([1, 2], [0, 3], [[1.0], [1.0]], BatchError),
        ([1, 2], [0, -1], [[1.0], [1.0]], BatchError),
        ([1, 2], [0, 1], [[1.0], [np.nan]], NonFiniteError),
    ],
)
def test_what_does_not_fit_is_refused_and_not_written(
    file: Path, samples: object, who: list[int], scores: list[object], error: type[AttributionError]
) -> None:
    with ScoreWriter(file, PEOPLE, ["loss"]) as writer:
        writer.add(0, [5], [0], [[1.0]])
        with pytest.raises(error):
            writer.add(1, samples, who, scores)
    assert table(file)["sample"].to_pylist() == [5]


def test_a_batch_may_be_changed_after_it_was_added(file: Path) -> None:
    samples, who, scores = np.array([1]), np.array([0]), np.array([[1.0]])
    with ScoreWriter(file, PEOPLE, ["loss"]) as writer:
        writer.add(0, samples, who, scores)
        samples[0], who[0], scores[0] = 2, 1, 2.0
    assert table(file).to_pydict() == {"step": [0], "sample": [1], "contributor": ["ann"], "loss": [1.0]}


@pytest.mark.parametrize(
    "tasks", [["step", "sample", "contributor", "times"], ["step", "task step"], ["a.b", "[0]", ".c"]]
)
def test_a_task_may_be_called_like_a_column_or_like_a_path(file: Path, tasks: list[str]) -> None:
    with ScoreWriter(file, PEOPLE, tasks) as writer:
        for step in (0, 1):
            writer.add(step, ["x"], [1], [np.arange(len(tasks)) + 1.0])
    columns = score_columns(tasks)
    assert len({*columns, "step", "sample", "contributor", "times"}) == len(tasks) + 4
    assert [table(file)[column].to_pylist() for column in columns] == [[i + 1.0] * 2 for i in range(len(tasks))]
    assert [score_totals(file)[column].to_pylist() for column in columns] == [[2 * i + 2.0] for i in range(len(tasks))]


@settings(deadline=None, max_examples=20)
@given(
    draw_from.lists(draw_from.lists(draw_from.tuples(draw_from.integers(0, 5), draw_from.integers(0, 2)), max_size=6)),
    draw_from.integers(1, 4),
)
def test_totals_are_the_sums_over_the_run_however_often_they_are_merged(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[tuple[int, int]]], group: int
) -> None:
    file = tmp_path_factory.mktemp("scores") / "scores.parquet"
    draw, wanted = np.random.default_rng(0), dict[tuple[str, str], np.ndarray]()
    with pytest.MonkeyPatch.context() as patch, ScoreWriter(file, PEOPLE, TASKS) as writer:
        patch.setattr(module, "ROW_GROUP", group)
        patch.setattr(module, "MERGE_AT", group)
        for step, batch in enumerate(batches):
            scores = draw.normal(size=(len(batch), 2))
            writer.add(step, [f"sample {sample}" for sample, _ in batch], [who for _, who in batch], scores)
            for (sample, who), score in zip(batch, scores, strict=True):
                key = (f"sample {sample}", PEOPLE[who])
                wanted[key] = wanted.get(key, 0) + np.array([1, *score])
        writer.close()
        found = score_totals(file).to_pydict()
    numbers = [list(row) for row in zip(found["times"], found["sport"], found["business"], strict=True)]
    assert list(zip(found["sample"], found["contributor"], strict=True)) == sorted(wanted)
    assert numbers == [pytest.approx(list(wanted[key]), rel=1e-12) for key in sorted(wanted)]


def test_neither_writing_nor_reading_holds_more_than_a_few_row_groups(file: Path) -> None:
    groups, n = 12, ROW_GROUP // 16
    with ScoreWriter(file, PEOPLE, ["loss"]) as writer:
        for step in range(groups * 16):
            writer.add(step, np.arange(n) % 1000, np.zeros(n, dtype=np.int64), np.ones((n, 1)))
            assert sum(len(held[1]) for held in writer._held) < ROW_GROUP
    metadata = pq.read_metadata(file)
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [ROW_GROUP] * groups
    before = pa.total_allocated_bytes()
    assert max(pa.total_allocated_bytes() - before - 3 * batch.nbytes for batch in read_scores(file)) < 0
    seen = np.bincount(np.arange(n) % 1000) * groups * 16
    assert score_totals(file)["times"].to_pylist() == seen.tolist()


def test_totals_hold_rows_in_proportion_to_the_samples_and_not_to_the_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROW_GROUP", 100)
    monkeypatch.setattr(module, "MERGE_AT", 1)
    with ScoreWriter(file, PEOPLE, ["loss"]) as writer:
        for step in range(100):
            writer.add(step, np.arange(100) % 50, np.zeros(100, dtype=np.int64), np.ones((100, 1)))
    held, summed = [], module._summed

    def watched(tables: list[pa.Table], sums: list[str]) -> pa.Table:
        held.append(sum(len(table) for table in tables))
        return summed(tables, sums)

    monkeypatch.setattr(module, "_summed", watched)
    assert score_totals(file)["times"].to_pylist() == [200] * 50
    assert max(held) <= 3 * 50 + 100


def test_a_batch_larger_than_a_row_group_is_split(file: Path) -> None:
    n = ROW_GROUP + 5
    with ScoreWriter(file, PEOPLE, ["loss"]) as writer:
        writer.add(0, np.arange(n), np.zeros(n, dtype=np.int64), np.ones((n, 1)))
    assert max(pq.read_metadata(file).row_group(i).num_rows for i in range(2)) == ROW_GROUP
    assert sum(len(batch) for batch in read_scores(file)) == n


def test_a_run_that_scored_nothing_leaves_an_empty_file(file: Path) -> None:
    writer = ScoreWriter(file, PEOPLE, TASKS)
    writer.add(0, [], [], np.zeros((0, 2)))
    assert writer.close() == writer.close() == file
    assert sum(len(batch) for batch in read_scores(file)) == 0
    assert score_totals(file).to_pydict() == {"sample": [], "contributor": [], "times": [], "sport": [], "business": []}


def test_the_file_is_there_only_when_it_is_whole(file: Path) -> None:
    writer = ScoreWriter(file, PEOPLE, ["loss"])
    writer.add(0, [1], [0], [[1.0]])
    assert not file.exists()
    writer.close()
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    with pytest.raises(BatchError, match="closed"):
        writer.add(1, [1], [0], [[1.0]])


def abandon(writer: ScoreWriter) -> None:
    writer.abandon()
    with pytest.raises(BatchError, match="closed"):
        writer.add(1, [1], [0], [[1.0]])


def fail(writer: ScoreWriter) -> None:
    with pytest.raises(ZeroDivisionError), writer:
        1 / 0  # noqa: B018


def forget(writer: ScoreWriter) -> None:
    del writer
    gc.collect()


@pytest.mark.parametrize("end", [abandon, fail, forget])
def test_an_abandoned_writer_leaves_nothing(file: Path, end: object) -> None:
    writers = [ScoreWriter(file, PEOPLE, ["loss"])]
    for step in range(2):
        writers[0].add(step, np.arange(ROW_GROUP), np.zeros(ROW_GROUP, dtype=np.int64), np.ones((ROW_GROUP, 1)))
    assert list(file.parent.iterdir())
    end(writers.pop())  # type: ignore[operator]
    assert not list(file.parent.iterdir())


def test_a_writer_left_by_the_end_of_the_program_leaves_nothing(file: Path) -> None:
    code = (
        f"from attribution.scores import ScoreWriter; w = ScoreWriter({str(file)!r}, ['ann'], ['loss']); "
        "w.add(0, [1], [0], [[1.0]]); w._flush(); import sys; sys.exit('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert not list(file.parent.iterdir())


def test_a_file_that_is_there_is_not_written_over(file: Path) -> None:
    file.write_text("mine")
    with pytest.raises(RecordError, match="exists"):
        ScoreWriter(file, PEOPLE, ["loss"])
    with pytest.raises(RecordError, match="cannot be written"):
        ScoreWriter(file / "below", PEOPLE, ["loss"])
    with pytest.raises(OptionError):
        ScoreWriter(file, [], ["loss"])
    assert file.read_text() == "mine"


@pytest.mark.parametrize("read", [score_totals, lambda path: list(read_scores(path))])
def test_what_holds_no_scores_is_refused(file: Path, read: object) -> None:
    with pytest.raises(RecordError, match="no scores"):
        read(file)  # type: ignore[operator]
    file.write_bytes(b"PAR1 and no more")
    with pytest.raises(RecordError, match="no scores"):
        read(file)  # type: ignore[operator]
    pq.write_table(pa.table({"step": [1]}), file)
    with pytest.raises(RecordError, match="no scores"):
        read(file)  # type: ignore[operator]
