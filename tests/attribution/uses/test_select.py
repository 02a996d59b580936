"""Selection: what a budget buys of a run's data, against every choice there is, and training on it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from attribution.record import RunRecord, Steps
from attribution.scores import ScoreWriter
from attribution.training import Source, TaskSource, TrainingConfiguration, train
from attribution.training.keeping import KeepList
from attribution.uses.budget import Budget
from attribution.uses.errors import MissingFromRunError, UseError
from attribution.uses.select import select

SMALL = TrainingConfiguration(
    layers=1, width=32, heads=2, vocabulary=300, context=16, batch_rows=8, validation_rows=4, threads=1, scores=True
)
NAMES = ("ann", "bob", "cyd")


def write(path: Path, texts: Sequence[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Source], list[TaskSource], Path, RunRecord]:
    folder = tmp_path_factory.mktemp("select")
    texts = {name: [f"{name} saw {n} cats on the {n % 7}th mat" * (1 + n % 3) for n in range(25)] for name in NAMES}
    sources = [Source(name, (write(folder / f"{name}.jsonl", found),), (f"{name}1",)) for name, found in texts.items()]
    tasks = [TaskSource("cats", (write(folder / "held.jsonl", [f"eve saw {n} cats" for n in range(40)]),), 1.0, "t1")]
    return sources, tasks, folder / "run", train(sources, tasks, SMALL, folder / "run")


Trained = tuple[list[Source], list[TaskSource], Path, RunRecord]


def rows(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(folder / "keep.parquet").to_pylist()


def test_tokens_are_chosen_by_score_for_each_and_the_budget_holds(trained: Trained, tmp_path: Path) -> None:
    _, _, run, record = trained
    found = select(record, run, tmp_path / "out", Budget(400))
    listed = [row for row in rows(found.path) if row["scored"]]  # the last one lies in no whole block
    taken = [row for row in listed if row["keep"]]
    assert sum(row["tokens"] for row in taken) == int(found.spent) <= 400
    assert found.worth == pytest.approx(sum(row["score"] for row in taken))
    density = {(row["dataset"], row["record"]): row["score"] / row["tokens"] for row in listed}
    least = min(density[row["dataset"], row["record"]] for row in taken)
    room = 400 - int(found.spent)
    for row in listed:  # what is left would not have fitted, ranks lower, or harms
        if not row["keep"] and row["score"] > 0 and density[row["dataset"], row["record"]] > least:
            assert row["tokens"] > room
    report = json.loads((found.path / "report.json").read_text())
    assert report["budget"] == {"amount": "400", "unit": "tokens", "prices": None, "fill": False, "task": None}
    assert report["format"] == "ghostledger-selection/1"


def test_one_trains_on_the_list(trained: Trained, tmp_path: Path) -> None:
    sources, tasks, run, record = trained
    found = select(record, run, tmp_path / "out", Budget(500))
    again = train(sources, tasks, SMALL, tmp_path / "again", keep=found.path / "keep.parquet")
    assert again.details["keep"]["sha256"] == found.sha256
    taken = {share.name: share.taken.units for share in found.contributors if share.taken is not None}
    assert again.details["keep"]["records"] == {name: taken[name] for name in again.contributors}


def test_what_was_chosen_before_stays_and_is_paid_for(trained: Trained, tmp_path: Path) -> None:
    _, _, run, record = trained
    nothing = select(record, run, tmp_path / "a", Budget(0))
    assert not any(row["keep"] for row in rows(nothing.path))
    before = select(record, run, tmp_path / "b", Budget(200))
    chosen = KeepList.load(before.path / "keep.parquet")
    more = select(record, run, tmp_path / "c", Budget(500), chosen=chosen)
    kept = {(row["dataset"], row["record"]) for row in rows(more.path) if row["keep"]}
    assert {(row["dataset"], row["record"]) for row in rows(before.path) if row["keep"]} < kept
    assert 200 < int(more.spent) <= 500
    assert more.worth <= more.bound
    with pytest.raises(UseError, match="more than the budget"):
        select(record, run, tmp_path / "d", Budget(int(before.spent) - 1), chosen=chosen)
    assert not (tmp_path / "d").exists()


def test_a_list_of_other_data_is_refused_by_name(trained: Trained, tmp_path: Path) -> None:
    sources, tasks, run, record = trained
    other = train(sources[:1], tasks, SMALL, tmp_path / "other")
    whole = KeepList.load(select(record, run, tmp_path / "a", Budget(300)).path / "keep.parquet")
    with pytest.raises(UseError, match="bob1 takes no part"):
        select(other, tmp_path / "other", tmp_path / "b", Budget(300), chosen=whole)


def test_whole_contributors_are_kept_whole(trained: Trained, tmp_path: Path) -> None:
    _, _, run, record = trained
    found = select(record, run, tmp_path / "out", Budget(1, "contributors"))
    (best,) = [share for share in found.contributors if share.whole]
    values = dict(zip(record.contributors, record.values @ record.weights, strict=True))
    assert best.name == max(values, key=lambda name: values[name])
    assert {row["dataset"] for row in rows(found.path) if row["keep"]} == {f"{best.name}1"}
    assert sum(row["keep"] for row in rows(found.path)) == 25


def by_hand(path: Path | None, values: Sequence[Sequence[float]]) -> RunRecord:
    """A run of no model: contributors' values by task, which are those of one step, and scores that sum to them."""
    names = [f"c{n}" for n in range(len(values))]
    table = np.array(values)
    tasks = [f"t{n}" for n in range(table.shape[1])]
    zero = np.zeros((1, len(tasks)))
    gain = table.sum(axis=0)[None]
    steps = Steps(gain + 1, np.ones_like(gain), table[None], zero, zero, np.array([2]), np.ones((1, len(names)), int))
    if path is not None:
        with ScoreWriter(path, names, tasks) as writer:
            writer.add(
                0,
                [f"{n}{half}" for n in range(len(names)) for half in "ab"],
                np.repeat(range(len(names)), 2),
                np.repeat(table / 2, 2, axis=0),
            )
    return RunRecord(names, tasks, np.full(len(tasks), 1 / len(tasks)), steps, scores=path)


@pytest.mark.parametrize("seed", range(8))
def test_no_other_contributors_within_the_budget_are_worth_more(seed: int, tmp_path: Path) -> None:
    draw = np.random.default_rng(seed)
    values = draw.normal(0.3, 1.0, (8, 2))
    prices = {f"c{n}": Decimal(int(cents)).scaleb(-2) for n, cents in enumerate(draw.integers(0, 2000, 8))}
    found = select(by_hand(None, values), tmp_path, tmp_path / "out", Budget(Decimal("30.00"), "contributors", prices))
    worth = dict(zip(prices, values.mean(axis=1), strict=True))
    choices = chain.from_iterable(combinations(prices, size) for size in range(9))
    best = max(sum(worth[c] for c in choice) for choice in choices if sum(prices[c] for c in choice) <= 30)
    assert found.worth == pytest.approx(best, abs=1e-11)
    assert sum(prices[share.name] for share in found.contributors if share.whole) == Decimal(found.spent)
    assert found.sha256 is None
    assert [path.name for path in found.path.iterdir()] == ["report.json"]


def test_prices_decide_whose_samples_are_taken_and_fill_takes_what_harms_least(tmp_path: Path) -> None:
    record = by_hand(tmp_path / "s.parquet", [[2.0], [1.0], [-1.0], [-4.0]])
    prices = {"c0": Decimal("1.00"), "c1": Decimal("0.25"), "c2": Decimal("0.25"), "c3": Decimal("0.25")}
    found = select(record, tmp_path, tmp_path / "a", Budget(Decimal("2.2"), "records", prices))
    spent = {share.name: share.spent for share in found.contributors}
    assert spent == {"c0": "1.00", "c1": "0.50", "c2": "0.00", "c3": "0.00"}  # both of the cheap one come first
    assert (found.spent, found.worth) == ("1.50", pytest.approx(2.0))
    assert found.bound == pytest.approx(2.0 + 0.7)
    filled = select(record, tmp_path, tmp_path / "b", Budget(Decimal("2.2"), "records", prices, fill=True))
    assert {share.name: share.spent for share in filled.contributors}["c2"] == "0.50"
    assert filled.spent == "2.00"
    on_task = by_hand(tmp_path / "t.parquet", [[2.0, -1.0], [-1.0, 2.0]])
    chosen = select(on_task, tmp_path, tmp_path / "c", Budget(2, "records", task="t1"))
    assert [share.name for share in chosen.contributors if share.taken is not None and share.taken.units] == ["c1"]


def test_what_does_not_fit_the_run_is_refused_and_nothing_written(trained: Trained, tmp_path: Path) -> None:
    _, _, run, record = trained
    samples = by_hand(tmp_path / "s.parquet", [[1.0]])
    for given, folder, budget, said in (
        (samples, tmp_path, Budget(5), "no tokens"),
        (samples, tmp_path, Budget(5, "records", task="dogs"), "no task 'dogs'"),
        (record, run, Budget(5, prices={"ann": 1}), "'bob' has no price"),
    ):
        with pytest.raises(UseError, match=said):
            select(given, folder, tmp_path / "out", budget)
    with pytest.raises(MissingFromRunError, match="--scores"):
        select(by_hand(None, [[1.0]]), tmp_path, tmp_path / "out", Budget(5, "records"))
    listed = KeepList.load(select(record, run, tmp_path / "list", Budget(100)).path / "keep.parquet")
    with pytest.raises(UseError, match="records or tokens"):
        select(record, run, tmp_path / "out", Budget(1, "contributors"), chosen=listed)
    assert not (tmp_path / "out").exists()
