"""The memory that metering will take is known before it is taken."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from attribution import InRunShapley, footprint
from tests.attribution.runs import OPTIMIZERS, batches, objective

NAMES = ["alice", "bob", "carol", "dave"]
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "no momentum": ("SGD", {}),
    "momentum": ("SGD, momentum", {}),
    "Adam": ("AdamW", {}),
    "a path over all steps": ("AdamW", {"every": "run"}),
    "paths of three lengths": ("SGD", {"every": (1, 2, "run")}),
    "displacements kept": ("AdamW", {"keep_displacements": True}),
    "exact": ("SGD", {"method": "exact"}),
    "ghost": ("SGD", {"memory": "ghost"}),
    "ghost, momentum": ("SGD, momentum", {"memory": "ghost"}),
}


def wide() -> nn.Sequential:
    """A model whose parameters outweigh what a batch of it needs."""
    return nn.Sequential(nn.Linear(6, 200), nn.Tanh(), nn.Linear(200, 200), nn.Tanh(), nn.Linear(200, 3))


def tensors(thing: object, seen: set[int]) -> Iterator[Tensor]:
    """All tensors that an object of ours holds, but for the model's and the optimizer's own."""
    if id(thing) in seen or isinstance(thing, (nn.Module, torch.optim.Optimizer, nn.Parameter, type)):
        return
    seen.add(id(thing))
    if isinstance(thing, Tensor):
        yield thing
    elif isinstance(thing, Mapping):
        for value in thing.values():
            yield from tensors(value, seen)
    elif isinstance(thing, Sequence) and not isinstance(thing, (str, bytes)):
        for value in thing:
            yield from tensors(value, seen)
    elif is_dataclass(thing):
        for each in fields(thing):
            yield from tensors(getattr(thing, each.name), seen)
    elif type(thing).__module__.startswith("attribution") and hasattr(thing, "__dict__"):
        for value in vars(thing).values():
            yield from tensors(value, seen)


def held(*things: object) -> int:
    """Bytes of the different storages that they hold."""
    seen: set[int] = set()
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for x in things for t in tensors(x, seen)}
    return sum(storages.values())


@pytest.mark.parametrize("tasks", [1, 3])
@pytest.mark.parametrize("case", CASES)
def test_the_footprint_is_what_the_buffers_come_to(case: str, tasks: int) -> None:
    optimizer, options = CASES[case]
    model = wide()
    chosen = OPTIMIZERS[optimizer](list(model.parameters()))
    goals = {f"task {number}": objective(number) for number in range(tasks)}
    meter = InRunShapley(model, chosen, goals, NAMES, **options)
    told = meter.footprint
    for inputs, targets, who in batches(3, 4):
        with meter.batch(who):
            functional.cross_entropy(model(inputs), targets).backward()
        chosen.step()
        chosen.zero_grad()
    displacements = [window.displacements for window in meter._steps.windows] + [meter._steps.displacements]
    assert held(meter._gradient.parts) == pytest.approx(told.gradients, rel=0.1)
    assert held(meter._steps.divider._slots._memory) == pytest.approx(told.momentum, rel=0.1)
    assert held(displacements) == pytest.approx(told.displacements, rel=0.1)
    assert held(meter) <= 1.1 * told.total
    assert held(meter) >= told.gradients + told.momentum + told.displacements
    meter.close()


def test_nothing_of_it_is_taken_before_it_is_told() -> None:
    model = wide()
    optimizer = torch.optim.AdamW(model.parameters())
    meter = InRunShapley(model, optimizer, objective(), NAMES)
    assert held(meter) < 0.01 * meter.footprint.total
    meter.close()


def test_it_is_told_in_megabytes_and_warned_of_where_less_is_free(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = wide()
    optimizer = torch.optim.AdamW(model.parameters())
    with caplog.at_level(logging.INFO, logger="attribution"):
        meter = InRunShapley(model, optimizer, objective(), NAMES)
    meter.close()
    assert f"metering will take {meter.footprint.total / 1e6:.0f} MB" in caplog.text
    monkeypatch.setattr(footprint, "_free", lambda: meter.footprint.total - 1)
    with pytest.warns(RuntimeWarning, match="use memory='ghost'"):
        InRunShapley(model, optimizer, objective(), NAMES).close()


def test_in_ghost_memory_it_does_not_depend_on_the_number_of_contributors() -> None:
    model = wide()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    few, many = (
        InRunShapley(model, optimizer, objective(), [str(number) for number in range(count)], memory="ghost")
        for count in (2, 500)
    )
    assert few.footprint == many.footprint
    for meter in (few, many):
        meter.close()


@pytest.mark.parametrize("memory", ["buffered", "ghost"])
def test_what_scores_of_rows_keep_of_a_step_is_told_when_its_first_batch_is_over(
    memory: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = wide()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    meter = InRunShapley(model, optimizer, objective(), NAMES, memory=memory)
    before = meter.footprint.total
    assert meter.footprint.rows == 0
    with caplog.at_level(logging.INFO, logger="attribution"):
        for inputs, targets, who in batches(2, 4):
            with meter.batch(who, samples=range(len(who))):
                functional.cross_entropy(model(inputs), targets).backward()
    # Inputs and output gradients of three layers, of two batches that wait for one step.
    widths = (6 + 200) + (200 + 200) + (200 + 3)
    assert meter.footprint.rows == 2 * len(who) * widths * 8
    assert meter.footprint.total == before + meter.footprint.rows
    assert caplog.text.count("metering will take") == 2
    meter.close()
