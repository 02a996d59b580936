"""Royalties: against the meter's own path over the run, and the record that they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from attribution.errors import RecordError
from attribution.record import RunRecord
from attribution.training import Source, TaskSource, TrainingConfiguration, train
from attribution.training.model import build_model
from attribution.training.tokenizer import encode, load_tokenizer
from attribution.uses.displaced import displacements_of
from attribution.uses.errors import MissingFromRunError, QueryError, UseError
from attribution.uses.royalty import royalty
from attribution.uses.tracer import summed_loss
from ledger.axioms import check_axioms

CONTEXT = 16
CHOSEN = TrainingConfiguration(
    layers=1,
    width=32,
    heads=2,
    vocabulary=300,
    context=CONTEXT,
    batch_rows=4,
    max_steps=40,
    learning_rate=0.01,
    validation_rows=1,
    threads=1,
    displacements=True,
)


def story(name: str, days: int = 60) -> list[str]:
    return [f"{name} tells story {day % 7} of day {day}, which was a good one." for day in range(days)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunRecord, Path]:
    folder = tmp_path_factory.mktemp("run")
    for name in ("alice", "bob", "carol"):
        lines = story(name) if name != "carol" else ["".join(reversed(line)) for line in story(name)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    (folder / "held.txt").write_text("".join(f"on day {day} the story was a short one.\n" for day in range(40)))
    sources = [Source(name, (folder / f"{name}.jsonl",), (name,)) for name in ("alice", "bob", "carol")]
    return train(
        sources, [TaskSource("held", (folder / "held.txt",), 1.0, "t")], CHOSEN, folder / "out"
    ), folder / "out"


def test_values_are_the_gradient_averaged_along_the_run_times_each_displacement(run: tuple[RunRecord, Path]) -> None:
    record, folder = run
    tokenizer = load_tokenizer(folder / "model")
    text = story("alice")[5] + " " + story("bob")[9]  # longer than the context
    kept = royalty(record, folder, {"said": text}, tolerance=1e-6)
    ids = encode(tokenizer, [text])[0]
    pieces = [ids[at : at + CONTEXT] for at in range(0, len(ids), CONTEXT) if len(ids[at : at + CONTEXT]) > 1]
    assert len(pieces) > 1
    moved = displacements_of(record, folder)
    model = build_model(TrainingConfiguration(model=folder / "model", context=CONTEXT), tokenizer)
    places, weights = np.polynomial.legendre.leggauss(24)
    average = torch.zeros_like(moved.start)
    losses = []
    for s, weight in [(0.0, 0.0), *zip((places + 1) / 2, weights / 2, strict=True), (1.0, 0.0)]:
        moved.apply(model, moved.start + float(s) * (moved.end - moved.start))
        model.zero_grad()
        predicted = sum(len(piece) - 1 for piece in pieces)
        loss = sum(summed_loss(model.eval(), torch.tensor([piece])) for piece in pieces) / predicted
        loss.backward()
        losses.append(loss.item())
        average += weight * torch.cat([p.grad.reshape(-1) for p in model.parameters()])
    by_hand = -(moved.parts @ average).numpy()
    assert kept.values[:, 0] == pytest.approx(by_hand, rel=1e-3, abs=1e-5)
    assert kept.improvement[0] == pytest.approx(losses[0] - losses[-1], abs=1e-5)
    assert np.abs(by_hand).max() > 0.1


def test_every_nat_of_what_training_took_off_a_text_s_loss_is_accounted_for(run: tuple[RunRecord, Path]) -> None:
    record, folder = run
    found = royalty(record, folder, {"one": story("alice")[3], "two": story("bob")[4]})
    assert (found.improvement > 0.5).all()
    assert (np.abs(found.gap) <= 1e-3 * found.improvement).all()
    assert all(finding.ok for finding in check_axioms(found))
    assert found.weights.tolist() == [0.5, 0.5]
    assert found.rows.tolist() == record.rows.tolist()
    own = dict(zip(found.contributors, found.values[:, 0], strict=True))
    assert own["alice"] > own["carol"]  # whose text is written backwards


def test_the_same_text_is_the_same_record_and_another_reference_another(
    run: tuple[RunRecord, Path], tmp_path: Path
) -> None:
    record, folder = run
    text = {"said": story("alice")[3]}
    first, again = royalty(record, folder, text), royalty(record, folder, text)
    other = royalty(record, folder, text, reference="invoice 17")
    assert first.identity == again.identity
    assert other.identity != first.identity
    assert other.values.tolist() == first.values.tolist()
    saved = RunRecord.load(other.save(tmp_path / "royalty"))
    assert saved.details["royalty"]["run"] == record.identity
    assert saved.details["royalty"]["reference"] == "invoice 17"
    assert saved.details["began_at"] == record.details["began_at"]
    assert saved.details["data"] == record.details["data"]


@pytest.mark.parametrize(
    ("texts", "error", "reason"),
    [({}, UseError, "at least one"), ({"a": ""}, QueryError, "'a'"), ({"a": "x"}, QueryError, "two tokens")],
)
def test_texts_without_a_loss_are_refused(
    run: tuple[RunRecord, Path], texts: dict[str, str], error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        royalty(*run, texts)


def test_a_model_that_was_trained_on_is_not_the_run_s(run: tuple[RunRecord, Path], tmp_path: Path) -> None:
    record, folder = run
    shutil.copytree(folder, tmp_path / "copy")
    tokenizer = load_tokenizer(folder / "model")
    model = build_model(TrainingConfiguration(model=folder / "model", context=CONTEXT), tokenizer)
    with torch.no_grad():
        next(model.parameters()).mul_(1.01)
    model.save_pretrained(tmp_path / "copy" / "model")
    with pytest.raises(RecordError, match="is not the model with which the run ended"):
        royalty(record, tmp_path / "copy", {"said": story("alice")[3]})


def test_a_folder_without_the_model_is_refused(run: tuple[RunRecord, Path], tmp_path: Path) -> None:
    record, folder = run
    shutil.copytree(folder, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "model")
    with pytest.raises(MissingFromRunError, match="model"):
        royalty(record, tmp_path / "copy", {"said": story("alice")[3]})
