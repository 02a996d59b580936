"""What the tests of ghost gradients share: drawn inputs, losses, and the meter's parts beside the oracle's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from attribution import InRunShapley
from tests.attribution import models
from tests.attribution.oracle import Inputs, outputs_of

ROWS, TIME = 6, 4
WHO = torch.tensor([2, 0, 0, 3, 2, 0])  # unequal, unsorted, contributor 1 missing

LossFunction = Callable[[Tensor], Tensor]


def vectors(rows: int = ROWS) -> Tensor:
    return torch.randn(rows, models.WIDTH)


def tokens(rows: int = ROWS, time: int = TIME) -> Tensor:
    return torch.randint(1, models.VOCABULARY, (rows, time))


def losses(inputs: Tensor, kind: str) -> LossFunction:
    def mean(outputs: Tensor) -> Tensor:
        return (outputs - 1).square().mean()

    def total(outputs: Tensor) -> Tensor:
        return outputs.cos().sum()

    def masked(outputs: Tensor) -> Tensor:
        targets = (torch.arange(outputs[..., 0].numel()) % outputs.shape[-1]).reshape(-1)
        targets[::3] = -100
        return functional.cross_entropy(outputs.reshape(-1, outputs.shape[-1]), targets, ignore_index=-100)

    def weighted(outputs: Tensor) -> Tensor:
        targets = (torch.arange(outputs[..., 0].numel()) % outputs.shape[-1]).reshape(-1)
        each = functional.cross_entropy(outputs.reshape(-1, outputs.shape[-1]), targets, reduction="none")
        weights = torch.linspace(0, 2, len(each)).square()
        return (weights * each).sum() / weights.sum()

    def several_terms(outputs: Tensor) -> Tensor:
        return mean(outputs) + 0.3 * weighted(outputs) - 0.1 * outputs.logsumexp(-1).sum()

    kinds = {"mean": mean, "sum": total, "padding-masked": masked, "weighted": weighted, "several terms": several_terms}
    return kinds[kind]


def metered_parts(
    model: nn.Module,
    batches: Sequence[tuple[Inputs, Tensor, LossFunction]],
    contributors: int = 4,
    axis: int | None = None,
) -> dict[str, Tensor]:
    """The meter's divided gradient after the given batches ``(inputs, who, loss)``, before the step."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.0)
    meter = InRunShapley(
        model, optimizer, lambda m: outputs_of(m, batches[0][0]).square().mean(), [*"abcdefgh"[:contributors]]
    )
    for inputs, who, loss_function in batches:
        with meter.batch(who, axis=axis):
            loss_function(outputs_of(model, inputs)).backward()
    found = parts_of(meter)
    meter.close()
    return found


def parts_of(meter: InRunShapley) -> dict[str, Tensor]:
    """Each parameter's gradient by contributor ``[contributors, *shape]``, as `meter` has divided it so far."""
    contributors = len(meter.contributors)
    parts = meter._gradient.whole()
    return {
        place.name: place.of(parts)[:contributors].reshape(contributors, *place.parameter.shape)
        for place in meter._space.places
    }


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor], relative: float = 1e-9) -> None:
    assert found.keys() == expected.keys()
    largest = max(float(part.abs().max()) for part in expected.values())
    for name, part in expected.items():
        assert torch.allclose(found[name], part, rtol=relative, atol=1e-2 * relative * largest), name
