"""What contributors did to the parameters over a run, and the file that keeps it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from attribution import InRunShapley
from attribution.displacements import Displacements
from attribution.errors import OptionError, RecordError
from tests.attribution.runs import OPTIMIZERS, batches, classifier, objective

NAMES = ["alice", "bob", "carol", "dave"]


def run(optimizer: str, keep: object, *, edit: bool = False) -> tuple[nn.Module, InRunShapley, list[torch.Tensor]]:
    """Four metered steps of the same run every time, and what `displacements` was after each."""
    torch.manual_seed(3)
    model = classifier()
    chosen = OPTIMIZERS[optimizer](list(model.parameters()))
    meter = InRunShapley(model, chosen, objective(), NAMES, keep_displacements=keep)
    found = []
    for number, (inputs, targets, who) in enumerate(batches(4, 4)):
        if edit and number == 2:
            with torch.no_grad():
                next(model.parameters()).mul_(0.5)
        with meter.batch(who):
            functional.cross_entropy(model(inputs), targets).backward()
        chosen.step()
        chosen.zero_grad()
        found.append(meter.displacements)
    return model, meter, found


@pytest.mark.parametrize("optimizer", ["SGD, momentum", "AdamW"])
def test_the_run_s_displacements_are_those_of_its_steps_summed(optimizer: str) -> None:
    _, _, steps = run(optimizer, True)
    model, meter, _ = run(optimizer, "run")
    kept = meter.run_displacements
    assert torch.cat([kept.parts, kept.house[None]]) == pytest.approx(torch.stack(steps).sum(0), abs=1e-12)
    assert kept.end == pytest.approx(kept.flat(model), abs=1e-12)
    assert kept.parts.abs().sum(1).min() > 1e-3


def test_what_was_changed_by_hand_between_steps_is_the_house_s() -> None:
    model, meter, _ = run("SGD", "run", edit=True)
    kept = meter.run_displacements
    assert kept.house.abs().max() > 1e-2
    assert kept.end == pytest.approx(kept.flat(model), abs=1e-12)


def test_they_lead_from_the_untrained_model_to_the_trained_one(tmp_path: Path) -> None:
    model, meter, _ = run("AdamW", "run")
    meter.run_displacements.save(tmp_path / "d.safetensors")
    kept = Displacements.load(tmp_path / "d.safetensors")
    torch.manual_seed(3)
    fresh = classifier()
    assert torch.equal(kept.start, kept.flat(fresh))
    kept.apply(fresh, kept.end)
    for ours, theirs in zip(fresh.parameters(), model.parameters(), strict=True):
        assert ours.detach() == pytest.approx(theirs.detach(), abs=1e-12)
    assert torch.equal(kept.of("bob"), meter.run_displacements.parts[1])


def test_a_run_that_kept_none_has_none() -> None:
    for keep in (False, True):
        _, meter, _ = run("SGD", keep)
        with pytest.raises(OptionError, match="keep_displacements='run'"):
            _ = meter.run_displacements


def test_a_model_that_was_changed_after_the_last_step_does_not_fit() -> None:
    model, meter, _ = run("SGD", "run")
    with torch.no_grad():
        next(model.parameters()).add_(1.0)
    with pytest.raises(RecordError, match="miss its last parameters"):
        _ = meter.run_displacements


def test_another_word_for_keeping_is_refused() -> None:
    with pytest.raises(OptionError, match="'all'"):
        run("SGD", "all")


def test_a_parameter_that_another_optimizer_moves_is_refused() -> None:
    model = classifier()
    first, *others = model.parameters()
    chosen, other = torch.optim.SGD(others, lr=0.1), torch.optim.SGD([first], lr=0.1)
    meter = InRunShapley(model, chosen, objective(), NAMES, keep_displacements="run")
    inputs, targets, who = batches(1, 4)[0]
    for _ in range(2):
        with meter.batch(who):
            functional.cross_entropy(model(inputs), targets).backward()
        if _ == 1:
            with pytest.raises(OptionError, match="changed by something else"):
                chosen.step()
        else:
            chosen.step()
            other.step()


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    _, meter, _ = run("SGD", "run")
    (tmp_path / "d.safetensors").write_text("mine")
    with pytest.raises(RecordError, match="exists"):
        meter.run_displacements.save(tmp_path / "d.safetensors")
    assert [file.name for file in tmp_path.iterdir()] == ["d.safetensors"]


@pytest.mark.parametrize("content", [b"", b"no displacements at all", None])
def test_a_file_that_holds_none_is_refused_by_name(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    if content is None:
        from safetensors.torch import save_file

        save_file({"start": torch.zeros(3)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(RecordError, match=r"other\.safetensors"):
        Displacements.load(path)


def test_another_model_is_refused() -> None:
    _, meter, _ = run("SGD", "run")
    with pytest.raises(OptionError, match="has no parameter"):
        meter.run_displacements.apply(nn.Linear(2, 2), meter.run_displacements.end)


def test_somebody_who_took_no_part_has_no_displacement() -> None:
    _, meter, _ = run("SGD", "run")
    with pytest.raises(OptionError, match="'erin' took no part"):
        meter.run_displacements.of("erin")


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(RecordError, match="do not fit"):
        Displacements(["alice"], {"weight": (2, 2)}, torch.zeros(4), torch.zeros(2, 4), torch.zeros(4))
