"""What training loops do around the two passes: checkpoint, compile, accumulate, clip, freeze, change rates."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from attribution import InRunShapley
from attribution.errors import RowAxisError, UnsupportedLayerError
from tests.attribution.ghost.metered import ROWS, TIME, WHO, assert_equal, losses, metered_parts, parts_of, vectors
from tests.attribution.models import WIDTH, Perceptron
from tests.attribution.oracle import contributor_gradients


class Checkpointed(nn.Module):
    """Recomputes its block, which draws random numbers, in the backward pass; or does not."""

    def __init__(self, reentrant: bool | None) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Linear(WIDTH, 12), nn.Tanh(), nn.Dropout(0.4), nn.Linear(12, WIDTH))
        self.first, self.out, self.reentrant = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 5), reentrant

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = self.block(x) if self.reentrant is None else checkpoint(self.block, x, use_reentrant=self.reentrant)
        return self.out(x)


@pytest.mark.usefixtures("replacing")
@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("shape", [(ROWS, WIDTH), (ROWS, TIME, WIDTH)])
def test_activation_checkpointing_changes_nothing(shape: tuple[int, ...], reentrant: bool) -> None:
    plain, model, loss_function = Checkpointed(None), Checkpointed(reentrant), losses(vectors(), "mean")
    model.load_state_dict(plain.state_dict())
    batches, expected = [(torch.randn(shape), WHO, loss_function) for _ in range(3)], []
    state = torch.get_rng_state()
    for inputs, _, _ in batches:
        expected.append(contributor_gradients(plain, inputs, loss_function, WHO, 4))
        plain(inputs)  # draws the random numbers that the oracle gives back
    torch.set_rng_state(state)
    assert_equal(metered_parts(model, batches), {name: sum(part[name] for part in expected) for name in expected[0]})


def test_a_reentrant_checkpoint_with_rows_along_either_axis_is_refused_unless_the_axis_is_stated() -> None:
    plain, model, loss_function = Checkpointed(None), Checkpointed(True), losses(vectors(), "mean")
    model.load_state_dict(plain.state_dict())
    inputs = torch.randn(ROWS, ROWS, WIDTH)
    with pytest.raises(RowAxisError, match="axis=") as raised:
        metered_parts(model, [(inputs, WHO, loss_function)])
    assert raised.value.name == "block"
    model.zero_grad()
    state = torch.get_rng_state()
    expected = contributor_gradients(plain, inputs, loss_function, WHO, 4)
    torch.set_rng_state(state)
    assert_equal(metered_parts(model, [(inputs, WHO, loss_function)], axis=0), expected)


@pytest.mark.parametrize("part", ["", "net.0"])
def test_modules_compiled_in_place_are_refused_by_name_before_the_run_and_during_it(part: str) -> None:
    model, inputs = Perceptron(), vectors()
    meter = InRunShapley(model, torch.optim.SGD(model.parameters(), lr=0.1), lambda m: m(inputs).mean(), [*"abcd"])
    module = model.get_submodule(part)
    module.compile()
    with pytest.raises(UnsupportedLayerError, match="_compiled_call_impl = None") as raised, meter.batch(WHO):
        pass
    assert raised.value.name == (part or "(the model)")
    module._compiled_call_impl = None
    with meter.batch(WHO):
        model(inputs).mean().backward()
    meter.close()


Change = Callable[[nn.Module, torch.optim.Optimizer, int], None]


def freeze_in_turn(model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    model.net[0].weight.requires_grad_(step % 3 != 1)
    model.net[4].bias.requires_grad_(step % 2 == 0)


def unfreeze_late(model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    for parameter in model.net[0].parameters():
        parameter.requires_grad_(step >= 2)


def change_rates(model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    for place, group in enumerate(optimizer.param_groups):
        group["lr"] = 0.1 * (place + 1) / (step + 1)


CHANGES: dict[str, Change] = {
    "frozen and unfrozen in turn": freeze_in_turn,
    "frozen at first": unfreeze_late,
    "another learning rate each step": change_rates,
}


@pytest.mark.usefixtures("replacing")
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
def test_what_changes_between_steps_is_followed(change: str, kind: str) -> None:
    model, loss_function = Perceptron(), losses(vectors(), "weighted")
    groups = [{"params": model.net[:2].parameters()}, {"params": model.net[2:].parameters(), "lr": 0.02}]
    CHANGES[change](model, torch.optim.SGD(model.parameters(), lr=0.1), 0)
    momentum = {"momentum": 0.9} if kind == "SGD" else {}
    optimizer = getattr(torch.optim, kind)(groups, lr=0.05, weight_decay=0.0, **momentum)
    held_out = vectors()
    meter = InRunShapley(model, optimizer, lambda m: m(held_out).square().mean(), [*"abcd"], nodes=5)
    for step in range(5):
        CHANGES[change](model, optimizer, step)
        optimizer.zero_grad()
        expected: dict[str, Tensor] = {}
        for _ in range(2):  # accumulated
            inputs = vectors()
            for name, part in contributor_gradients(model, inputs, loss_function, WHO, 4).items():
                expected[name] = expected[name] + part if name in expected else part
            with meter.batch(WHO):
                loss_function(model(inputs)).backward()
        found = parts_of(meter)
        frozen = [name for name in found if name not in expected]
        assert not any(found.pop(name).any() for name in frozen)
        assert_equal(found, expected)
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
    record = meter.finish()
    assert record.house == pytest.approx([0.0], abs=1e-12)
    assert abs(record.values).max() > 1e-4
