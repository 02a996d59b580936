"""Autocast to bfloat16: the division is as exact as that format, and repeated calls are made in the same state."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from attribution import InRunShapley
from attribution.errors import UnaccountedGradientError
from tests.attribution import models
from tests.attribution.ghost.metered import ROWS, WHO, losses, metered_parts, tokens, vectors
from tests.attribution.oracle import contributor_gradients

# Eight significant bits: the oracle rounds every contributor's gradient to them at every use, the meter only those of
# modules without a rule. Each may be half a unit off in every element, and uses one after another add up.
UNIT = 2**-7


class Wrapped(nn.Module):
    """Autocast inside the model, so that the user's code knows nothing of it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return self.model(x).float()


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "mlp": (models.Perceptron, vectors),
    "tied": (models.TiedLanguageModel, tokens),
    "tied, positions as parameter": (lambda: models.TiedLanguageModel("parameter"), tokens),
    "borrowed head": (models.BorrowedHead, tokens),
    "convolutional": (models.Convolutional, lambda: torch.randn(ROWS, 1, 8, 8)),
    "class token": (models.ClassToken, lambda: torch.randn(ROWS, 4, 4)),
    "recurrent": (models.Transposing, tokens),
    "repeated, shared, parametrized": (models.Repeated, vectors),
}


@pytest.mark.usefixtures("replacing")
@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_parts_are_right_to_the_format_s_precision(case: str, inside: bool) -> None:
    torch.set_default_dtype(torch.float32)
    build, draw = CASES[case]
    model, inputs, mean = Wrapped(build()) if inside else build(), draw(), losses(vectors(), "mean")

    def loss_function(outputs: Tensor) -> Tensor:
        return mean(outputs.float())

    with torch.autocast("cpu", torch.bfloat16, enabled=not inside):
        expected = contributor_gradients(model, inputs, loss_function, WHO, 4)
        found = metered_parts(model, [(inputs, WHO, loss_function)] * 2)
    assert found.keys() == expected.keys()
    for name, part in expected.items():
        for contributor in WHO.unique().tolist():
            difference = float((found[name][contributor] / 2 - part[contributor]).norm())
            assert difference <= UNIT * float(part[contributor].norm()), (name, contributor)


@pytest.mark.usefixtures("replacing")
@pytest.mark.parametrize("passes_inside", [True, False])
def test_a_run_under_autocast_books_everything(passes_inside: bool) -> None:
    torch.set_default_dtype(torch.float32)
    model, held_out = models.Perceptron(), vectors(32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.0)
    meter = InRunShapley(model, optimizer, lambda m: (m(held_out) - 1).square().mean(), [*"abcd"])
    for _ in range(8):
        inputs = vectors()
        optimizer.zero_grad()
        with meter.batch(WHO), torch.autocast("cpu", torch.bfloat16):
            loss = (model(inputs).float() - 1).square().mean()
            if passes_inside:
                loss.backward()
            else:
                with torch.autocast("cpu", enabled=False):
                    loss.backward()
        optimizer.step()
    record = meter.finish()
    improvement = record.steps.loss_before[0, 0] - record.steps.loss_after[-1, 0]
    assert improvement > 0.01
    assert record.values.sum() == pytest.approx(improvement, rel=0.02)
    assert abs(record.house.sum()) < 0.01 * improvement


def test_what_no_row_causes_is_refused_under_autocast_too() -> None:
    torch.set_default_dtype(torch.float32)
    model = Wrapped(models.Perceptron())

    def penalised(outputs: Tensor) -> Tensor:
        return outputs.square().mean() + 0.1 * sum(p.square().sum() for p in model.parameters())

    with pytest.raises(UnaccountedGradientError, match=r"'model\.net\.0\.weight'"):
        metered_parts(model, [(vectors(), WHO, penalised)])
