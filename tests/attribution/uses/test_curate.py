"""Curation: what is dropped, what is reported, and training again on what is kept."""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from attribution.record import RunRecord, Steps
from attribution.scores import ScoreWriter, read_scores
from attribution.training import Source, TaskSource, TrainingConfiguration, train
from attribution.training.errors import KeepListError, NothingKeptError
from attribution.training.keeping import KeepList, keep_schema
from attribution.training.sources import ReadDataset
from attribution.uses.curate import curate
from attribution.uses.curation import Rule
from attribution.uses.errors import MissingFromRunError, UseError
from tests.alone import alone

SMALL = TrainingConfiguration(
    layers=1,
    width=32,
    heads=2,
    vocabulary=300,
    context=16,
    batch_rows=8,
    validation_rows=8,
    threads=1,
    scores=True,
    learning_rate=3e-3,
    epochs=3,
)
SENTENCE = "the cat sat on mat {} and looked at the other cat for a while"
NOISE = "qzx#{}%%vkq@@jj~^zzq!!xw"


def write(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Source], list[TaskSource], Path, RunRecord]:
    """A run on two contributors' sentences; every tenth record of bob is noise."""
    folder = tmp_path_factory.mktemp("planted")
    ann = write(folder / "ann.jsonl", [SENTENCE.format(n) for n in range(60)])
    # Long enough to fill blocks of their own: neighbours share the others' scores.
    bob = [NOISE.format(n) * 4 if n % 10 == 3 else SENTENCE.format(100 + n) for n in range(60)]
    held = write(folder / "held.jsonl", [SENTENCE.format(500 + n) for n in range(30)])
    sources = [Source("ann", (ann,), ("a1",)), Source("bob", (write(folder / "bob.jsonl", bob),), ("b1",))]
    tasks = [TaskSource("cats", (held,), 1.0, "t1")]
    record = train(sources, tasks, SMALL, folder / "run")
    return sources, tasks, folder / "run", record


Planted = tuple[list[Source], list[TaskSource], Path, RunRecord]


def test_planted_noise_scores_least_is_dropped_and_can_be_read(planted: Planted, tmp_path: Path) -> None:
    sources, _, run, record = planted
    found = curate(record, run, tmp_path / "out", Rule(share=0.17), sources=sources, show=8)
    noise = {("b1", n) for n in range(3, 60, 10)}
    # Two bystanders may come before: a record that shares its blocks with noise shares their score.
    assert noise < {(sample.dataset, sample.sample) for sample in found.worst}
    for sample in found.worst + found.best:
        assert sample.text is not None
        assert sample.text.startswith("qzx#" if (sample.dataset, sample.sample) in noise else "the cat")
    rows = pq.read_table(found.path / "keep.parquet").to_pylist()
    dropped = {(row["dataset"], row["record"]) for row in rows if not row["keep"]}
    assert noise <= dropped
    assert len(dropped - noise) <= 6  # of 114


def test_a_records_score_is_that_of_its_tokens_and_nothing_is_lost(planted: Planted, tmp_path: Path) -> None:
    _, _, run, record = planted
    found = curate(record, run, tmp_path / "out")
    assert record.scores is not None
    scores = pq.read_table(record.scores).to_pylist()
    lines = pq.read_table(run / "records.parquet").to_pylist()
    by_block: Counter[str] = Counter()
    for row in scores:  # three epochs
        name, _, block = row["sample"].rsplit("/", 2)
        by_block[f"{name}/{block}"] += row["cats"]
    expected, at = {}, {"ann": 0, "bob": 0}
    for line in lines:  # token by token
        name = line["contributor"]
        places = range(at[name], at[name] + line["tokens"])
        at[name] += line["tokens"]
        expected[line["dataset"], line["record"]] = sum(by_block[f"{name}/{place // 16}"] / 16 for place in places)
    rows = pq.read_table(found.path / "keep.parquet").to_pylist()
    assert {(row["dataset"], row["record"]): row["score"] for row in rows} == pytest.approx(
        expected, rel=1e-9, abs=1e-15
    )
    for contributor in found.contributors:
        whole = sum(row["cats"] for row in scores if row["contributor"] == contributor.name)
        assert contributor.kept.score + contributor.dropped.score == pytest.approx(whole, rel=1e-9)
        assert contributor.dropped.score == pytest.approx(contributor.dropped.harmful)
        assert contributor.kept.units + contributor.dropped.units == 60
        assert contributor.kept.size + contributor.dropped.size == at[contributor.name]


def test_training_again_leaves_out_what_is_not_kept_and_says_by_which_list(planted: Planted, tmp_path: Path) -> None:
    sources, tasks, run, record = planted
    found = curate(record, run, tmp_path / "out", Rule(share=0.25))
    again = train(sources, tasks, SMALL, tmp_path / "again", keep=found.path / "keep.parquet")
    stated = again.details["keep"]
    assert (stated["sha256"], stated["run"], stated["left_out"]) == (found.sha256, record.identity, [])
    kept = {c.name: c.kept.units for c in found.contributors}
    assert stated["records"] == kept == {name: again.details["corpus"][name]["records"] for name in kept}
    expected = [
        (row["dataset"], row["record"]) for row in pq.read_table(found.path / "keep.parquet").to_pylist() if row["keep"]
    ]
    lines = pq.read_table(tmp_path / "again" / "records.parquet").to_pylist()
    assert [(line["dataset"], line["record"]) for line in lines] == expected
    # and the filtered run can be curated in turn: what it left out stays out
    twice = curate(again, tmp_path / "again", tmp_path / "twice", Rule(share=0.1))
    keep = KeepList.load(twice.path / "keep.parquet")
    assert sum(keep.count(source) for source in sources) < len(expected)
    assert {(r.dataset, r.number) for source in sources for r in keep.of(source).numbered()} < set(expected)


def test_the_same_data_in_another_order_or_other_data_is_refused_by_name(planted: Planted, tmp_path: Path) -> None:
    sources, tasks, run, record = planted
    keep = curate(record, run, tmp_path / "out").path / "keep.parquet"
    lines = sources[1].paths[0].read_text().splitlines(keepends=True)
    (tmp_path / "bob.jsonl").write_text("".join(reversed(lines)))
    turned = Source("bob", (tmp_path / "bob.jsonl",), ("b1",))
    for bad, said in (
        (turned, "another order"),
        (Source("eve", (tmp_path / "bob.jsonl",), ("e1",)), "dataset e1 of 'eve'"),
    ):
        with pytest.raises(KeepListError, match=said):
            train([sources[0], bad], tasks, SMALL, tmp_path / "again", keep=keep)
    (tmp_path / "bob.jsonl").write_text("".join(lines[:-1]))
    with pytest.raises(KeepListError, match="59 for 60"):
        train([sources[0], turned], tasks, SMALL, tmp_path / "again", keep=keep)
    with pytest.raises(KeepListError, match="no keep list"):
        train(sources, tasks, SMALL, tmp_path / "again", keep=tmp_path / "bob.jsonl")
    assert not (tmp_path / "again").exists()


def keep_list(path: Path, sources: list[Source], keep: dict[str, bool]) -> Path:
    """A keep list that keeps all of a source or nothing."""
    read: list[ReadDataset] = []
    rows = [(source.contributor, *record) for source in sources for record in source.numbered(read)]
    schema = keep_schema("0" * 64, read)
    columns: list[Any] = [[r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows]]
    columns += [[1] * len(rows), [1] * len(rows), [0.0] * len(rows), [keep[r[0]] for r in rows]]
    arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
    pq.write_table(pa.table(arrays, schema=schema), path)
    return path


def test_who_has_nothing_kept_is_left_out_and_named(planted: Planted, tmp_path: Path) -> None:
    sources, tasks, _, _ = planted
    file = keep_list(tmp_path / "keep.parquet", sources, {"ann": True, "bob": False})
    again = train(sources, tasks, SMALL, tmp_path / "again", keep=file)
    assert again.contributors == ["ann"]
    assert again.details["keep"]["left_out"] == ["bob"]
    assert set(again.details["data"]) == {"ann"}
    nothing = keep_list(tmp_path / "nothing.parquet", sources, {"ann": False, "bob": False})
    with pytest.raises(NothingKeptError):
        train(sources, tasks, SMALL, tmp_path / "none", keep=nothing)


def synthetic(path: Path, scores: list[tuple[int, Any, int, list[float]]], tasks: list[str]) -> RunRecord:
    """A record of a loop of one's own: scores of (step, sample, contributor, nats by task)."""
    with ScoreWriter(path, ["ann", "bob"], tasks) as writer:
        for step, sample, who, nats in scores:
            writer.add(step, [sample], [who], [nats])
    weights = np.full(len(tasks), 1 / len(tasks))
    return RunRecord(["ann", "bob"], tasks, weights, Steps.of([], 2, len(tasks)), scores=path)


SCORES = [
    (0, "a", 0, [2.0, -1.0]),
    (0, "b", 1, [-3.0, 1.0]),
    (1, "a", 0, [1.0, -1.0]),
    (1, "c", 1, [0.5, -0.25]),
    (2, "d", 0, [-0.5, 4.0]),
]


@pytest.mark.parametrize(
    ("rule", "dropped"),
    [
        (Rule(), {"b"}),
        (Rule(below=0.2), {"b", "c"}),
        (Rule(below=0.125), {"b"}),  # which is what c scores
        (Rule(below=-2.0), set()),
        (Rule(task="one"), {"b", "d"}),
        (Rule(task="two"), {"a", "c"}),
        (Rule(share=0.5), {"b", "c"}),
        (Rule(share=0.49), {"b"}),
        (Rule(share=0.2), set()),
    ],
)
def test_the_rule_decides_what_is_dropped_in_a_run_of_ones_own_loop(
    rule: Rule, dropped: set[str], tmp_path: Path
) -> None:
    record = synthetic(tmp_path / "s.parquet", SCORES, ["one", "two"])
    found = curate(record, tmp_path, tmp_path / "out", rule)
    rows = pq.read_table(found.path / "keep.parquet").to_pylist()
    assert {row["sample"] for row in rows if not row["keep"]} == dropped
    assert {row["sample"] for row in rows} == set("abcd")
    assert {row["sample"]: row["times"] for row in rows}["a"] == 2
    assert json.loads((found.path / "report.json").read_text())["contributors"][1]["name"] == "bob"
    with pytest.raises(KeepListError):  # which names no datasets
        KeepList.load(found.path / "keep.parquet")


@pytest.mark.parametrize(
    "make", [lambda: Rule(below=0.0, share=0.1), lambda: Rule(share=1.0), lambda: Rule(below=float("nan"))]
)
def test_a_rule_that_makes_no_sense_is_refused(make: Any) -> None:
    with pytest.raises(UseError):
        make()


def test_what_the_run_lacks_is_refused_with_the_option_that_makes_it(planted: Planted, tmp_path: Path) -> None:
    _, _, run, record = planted
    with pytest.raises(UseError, match="no task 'dogs', only 'cats'"):
        curate(record, run, tmp_path / "out", Rule(task="dogs"))
    with pytest.raises(MissingFromRunError, match=r"records\.parquet"):
        curate(record, tmp_path, tmp_path / "out")
    bare = RunRecord(["ann"], ["one"], np.ones(1), Steps.of([], 1, 1))
    with pytest.raises(MissingFromRunError, match="--scores"):
        curate(bare, run, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.iterdir())


@alone
def test_memory_does_not_grow_with_the_samples(tmp_path: Path) -> None:
    peaks = []
    for count in (20_000, 80_000):
        path = tmp_path / f"{count}.parquet"
        with ScoreWriter(path, ["ann", "bob"], ["one"]) as writer:
            for start in range(0, count, 20_000):
                numbers = np.arange(start, start + 20_000)
                writer.add(0, numbers, numbers % 2, np.sin(numbers)[:, None])
        record = RunRecord(["ann", "bob"], ["one"], np.ones(1), Steps.of([], 2, 1), scores=path)
        tracemalloc.start()
        found = curate(record, tmp_path, tmp_path / f"out-{count}", Rule(share=0.3))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert sum(c.dropped.units for c in found.contributors) == int(0.3 * count)
    assert peaks[1] < 1.5 * peaks[0]


def test_scores_are_read_without_the_file_in_memory(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    with ScoreWriter(tmp_path / "s.parquet", ["ann"], ["one"]) as writer:
        for step in range(25):
            writer.add(step, np.arange(40_000), np.zeros(40_000, dtype=int), draw.normal(size=(40_000, 1)))
    before = pa.total_allocated_bytes()
    peak = max(pa.total_allocated_bytes() - before for _ in read_scores(tmp_path / "s.parquet"))
    assert peak < 0.75 * (tmp_path / "s.parquet").stat().st_size
