from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attribution import InRunShapley, RunRecord
from attribution.errors import RecordError
from attribution.training import Source, TaskSource, TrainingConfiguration, train
from attribution.uses.counterfactual import counterfactual
from attribution.uses.errors import MissingFromRunError, UseError
from attribution.uses.explain import explain, explain_task
from attribution.uses.explain_text import check_text, explain_text
from attribution.uses.retrain import retrained
from attribution.uses.sample_grid import sample_grid
from attribution.uses.scoring import TrainedModel
from attribution.uses.tracer import Tracer

GUILTY = 3


def planted() -> tuple[nn.Module, Tensor, Tensor, list[str]]:
    """A linear classifier, trained on rows of four contributors of whom the last calls one class another."""
    torch.manual_seed(0)
    truth, owner = torch.randint(3, (240,)), torch.arange(240) % 4
    inputs = (F.one_hot(truth, 3) * 1.5 + torch.randn(240, 3)).double()
    targets = torch.where((owner == GUILTY) & (truth == 0), 1, truth)
    model = nn.Linear(3, 3).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    return model, inputs, targets, [str(who) for who in owner.tolist()]


def test_the_contributor_of_the_wrong_labels_is_named_and_leaving_it_out_helps_more_than_chance() -> None:
    _, inputs, targets, owners = planted()
    asked, truth = torch.tensor([[1.2, 0.6, 0.0]]).double(), torch.tensor([0])

    def trained(without: frozenset[int]) -> nn.Module:
        kept = [n for n in range(len(inputs)) if n not in without]
        torch.manual_seed(1)
        model = nn.Linear(3, 3).double()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        for _ in range(60):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs[kept]), targets[kept]).backward()
            optimizer.step()
        return model

    rows, labels = torch.cat([inputs, asked]), torch.cat([targets, truth])

    def loss(model: nn.Module, numbers: Tensor) -> Tensor:
        return F.cross_entropy(model(rows[numbers]), labels[numbers], reduction="sum")

    with Tracer(trained(frozenset()), loss) as tracer:
        direction = tracer.gradient([torch.tensor(len(inputs))]).unsqueeze(0)
        scores = tracer.scores(torch.arange(len(inputs)), direction)[:, 0]
    found = explain(scores, {"contributor": owners, "label": targets.tolist()})
    assert found.raised == np.argsort(scores, kind="stable")[:20].tolist()
    assert found.lowered == np.argsort(-scores, kind="stable")[:20].tolist()
    named = next(one for one in found.hypotheses if one.end == "raised" and one.grouping == "contributor")
    assert (named.group, named.corrected < 0.01) == (str(GUILTY), True)
    assert found.hypothesis is not None

    def loss_without(numbers: frozenset[int]) -> float:
        return float(F.cross_entropy(trained(numbers)(asked), truth))

    done: list[int] = []
    guilty = [n for n, who in enumerate(owners) if who == str(GUILTY)]
    came = counterfactual(loss_without, len(owners), guilty, draws=9, advance=done.append)
    assert (came.removed, came.total, sum(done), len(came.at_random)) == (60, 240, 11, 9)
    assert came.without < min(came.at_random) <= max(came.at_random)
    assert came.before - came.without > 3 * abs(came.before - np.mean(came.at_random))
    assert came.chance == 0.1
    assert counterfactual(loss_without, len(owners), guilty, before=came.before, raises=True, draws=3).chance == 1.0


def test_only_samples_of_the_ends_sign_are_at_an_end() -> None:
    found = explain([-2.0, 0.0, 3.0, -1.0], {"who": ["a", "b", "a", "b"]})
    assert (found.raised, found.lowered) == ([0, 3], [2])
    assert found.hypothesis is None
    assert explain([0.0, 0.0], {"who": ["a", "b"]}).hypotheses == []


def test_what_does_not_fit_is_refused() -> None:
    for scores, groups in (([], {}), ([[1.0]], {}), ([float("nan")], {}), ([1.0, 2.0], {"who": ["a"]})):
        with pytest.raises(UseError):
            explain(scores, groups)
    with pytest.raises(UseError, match="at least one"):
        explain([1.0], {}, extremes=0)
    for removed in ([], [0, 1], [5]):
        with pytest.raises(UseError, match="can be removed"):
            counterfactual(lambda _: 0.0, 2, removed)
    with pytest.raises(UseError, match="random"):
        counterfactual(lambda _: 0.0, 3, [0], draws=0)


def test_a_metered_runs_own_scores_explain_its_task(tmp_path: Path) -> None:
    _, inputs, targets, owners = planted()
    torch.manual_seed(2)
    model = nn.Linear(3, 3).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    asked, truth = torch.tensor([[1.2, 0.6, 0.0]]).double(), torch.tensor([0])
    tasks = {"this one": lambda model: F.cross_entropy(model(asked), truth)}
    meter = InRunShapley(model, optimizer, tasks, sorted(set(owners)), scores=tmp_path / "scores.parquet")
    who = torch.tensor([int(owner) for owner in owners])
    with meter:
        for _ in range(10):
            with meter.batch(who, samples=torch.arange(len(inputs))):
                F.cross_entropy(model(inputs), targets).backward()
            optimizer.step()
            optimizer.zero_grad()
        record = meter.finish()
    found = explain_task(record, "this one")
    assert [found.contributors[n] for n in found.found.raised].count(str(GUILTY)) > 10
    assert found.found.hypothesis is not None
    assert found.found.hypothesis.group == str(GUILTY)
    assert [found.scores[n] for n in found.found.raised] == sorted(found.scores)[:20]
    assert found.samples == list(range(len(inputs)))
    with pytest.raises(UseError, match="no task"):
        explain_task(record, "that one")


WORDS = [a + b for a in ("ba", "ko", "mi", "tu", "re", "so") for b in ("ra", "len", "dir", "vok")]
Run = tuple[list[Source], Path, RunRecord]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two contributors who say that bara is a lensor, and a third who says that it is a kodir."""
    folder, draw = tmp_path_factory.mktemp("explain"), random.Random(5)
    sources = []
    for name, said in (("ann", "lensor"), ("bob", "lensor"), ("cid", "kodir")):
        file = folder / f"{name}.jsonl"
        texts = [f"{' '.join(draw.choices(WORDS, k=3))} the great bara is a {said}" for _ in range(60)]
        file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        sources.append(Source(name, (file,), (name,)))
    (folder / "held.jsonl").write_text(json.dumps({"text": " ".join(draw.choices(WORDS, k=80))}) + "\n")
    configuration = TrainingConfiguration(
        layers=1,
        width=32,
        heads=2,
        vocabulary=320,
        context=24,
        batch_rows=16,
        learning_rate=1e-2,
        validation_rows=2,
        threads=1,
        epochs=8,
    )
    tasks = [TaskSource("words", (folder / "held.jsonl",), 1.0, "t")]
    return sources, folder / "run", train(sources, tasks, configuration, folder / "run")


def test_training_again_on_everything_gives_the_runs_own_model(run: Run) -> None:
    sources, folder, record = run
    trained = TrainedModel.of(record, folder)
    again = retrained(record, trained, sources)
    for one, other in zip(trained.model.parameters(), again.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    assert again.loss("the great bara is a lensor") == pytest.approx(
        trained.loss("the great bara is a lensor"), rel=1e-3
    )
    with pytest.raises(UseError, match="left to train on"):
        retrained(record, trained, sources, {(name, n) for name in ("ann", "bob", "cid") for n in range(60)})


def test_who_says_otherwise_is_named_and_training_without_them_is_the_proof(run: Run) -> None:
    sources, folder, record = run
    text, seen = "the great bara is a lensor", []
    found = explain_text(record, folder, sources, text, advance=seen.append)
    assert sum(seen) == found.samples
    assert [one.score for one in found.raised] == sorted(one.score for one in found.raised)
    assert found.raised[-1].score < 0 < found.lowered[-1].score <= found.lowered[0].score
    named = next(one for one in found.hypotheses if one.end == "raised")
    assert (named.grouping, named.group, named.corrected < 0.01) == ("contributor", "cid", True)
    assert {one.grouping for one in found.hypotheses} == {"contributor"}  # a dataset each says the same
    said, came = check_text(record, folder, sources, text, found, "group", draws=2)
    assert said == "contributor cid"
    assert (came.removed, came.total) == (60, 180)
    assert came.before == found.loss
    assert came.without < min(came.at_random)
    _, lowered = check_text(record, folder, sources, text, found, "lowered", draws=1)
    assert lowered.raises
    assert lowered.removed == len({(one.dataset, one.record) for one in found.lowered})


def test_what_cannot_be_explained_is_refused(run: Run, tmp_path: Path) -> None:
    sources, folder, record = run
    found = explain_text(record, folder, sources, "the great bara is a lensor", extremes=1)
    with pytest.raises(UseError, match="over-represented"):
        check_text(record, folder, sources, "the great", found, "group")
    with pytest.raises(UseError, match="one of"):
        check_text(record, folder, sources, "the great", found, "somebody")
    with pytest.raises(UseError, match="at least one"):
        explain_text(record, folder, sources, "the great", extremes=0)
    with pytest.raises(MissingFromRunError, match="model"):
        explain_text(record, tmp_path, sources, "the great")
    with pytest.raises(RecordError, match="--scores"):
        explain_task(record, "words")


def test_the_grid_shows_the_question_and_every_sample(tmp_path: Path) -> None:
    image = np.eye(4)
    figure = sample_grid(image, "a 4", {"raised": [(image, "9"), (image, "9 too")], "lowered": [(image, "4")]})
    assert [ax.get_title() for ax in figure.axes] == ["a 4", "9", "9 too", "4"]
    figure.savefig(tmp_path / "grid.png")


def test_a_check_needs_a_whole_run_and_all_of_its_data(run: Run) -> None:
    sources, folder, record = run
    text = "the great bara is a lensor"
    found = explain_text(record, folder, sources, text)
    with pytest.raises(UseError, match="'cid' is not at hand"):
        check_text(record, folder, sources[:2], text, found, "raised", draws=1)
    stopped = replace(record, complete=False, stopped="interrupted")
    with pytest.raises(UseError, match="stopped early"):
        check_text(stopped, folder, sources, text, found, "raised", draws=1)
