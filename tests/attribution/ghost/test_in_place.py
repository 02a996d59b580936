"""What the user's code changes in place: right, or refused; never another division without a word."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from attribution import InRunShapley
from attribution.errors import RowAxisError, UnaccountedGradientError
from tests.attribution.ghost.metered import WHO, assert_equal, parts_of, tokens, vectors
from tests.attribution.models import CLASSES, WIDTH, TiedLanguageModel
from tests.attribution.oracle import contributor_gradients

Outputs = dict[str, Tensor]
Use = Callable[[Outputs], Tensor]


class Head(nn.Module):
    """Returns its loss beside its logits and hidden states, as models of transformers do."""

    def __init__(self, shifted: bool = False) -> None:
        super().__init__()
        self.inner, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)
        if shifted:
            self.shift = nn.Parameter(torch.randn(CLASSES))

    def forward(self, x: Tensor) -> Outputs:
        hidden = torch.tanh(self.inner(x))
        logits = self.out(hidden)
        if hasattr(self, "shift"):
            logits = logits + self.shift
        return {"loss": (logits - 1).square().mean(), "logits": logits, "hidden": hidden}


class Sequences(nn.Module):
    """Positions that are looked up once for all rows, and the loss beside the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.model = TiedLanguageModel()

    def forward(self, ids: Tensor) -> Outputs:
        logits = self.model(ids)
        return {"loss": (logits - 1).square().mean(), "logits": logits}


def multiplied_loss(outputs: Outputs) -> Tensor:
    loss = outputs["loss"]
    loss *= 0.3
    return loss


def divided_loss(outputs: Outputs) -> Tensor:
    return outputs["loss"].div_(4)


def tempered_logits(outputs: Outputs) -> Tensor:
    return outputs["logits"].div_(2.0).logsumexp(-1).mean()


def shifted_logits(outputs: Outputs) -> Tensor:
    outputs["logits"].add_(1.0)
    return outputs["logits"].cos().sum()


class Used(nn.Module):
    """The loss of each row by itself cannot be had; the oracle needs what has rows: the logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)["logits"]


LOSSES: dict[Use, Callable[[Tensor], Tensor]] = {
    multiplied_loss: lambda logits: 0.3 * (logits - 1).square().mean(),
    divided_loss: lambda logits: (logits - 1).square().mean() / 4,
    tempered_logits: lambda logits: (logits / 2.0).logsumexp(-1).mean(),
    shifted_logits: lambda logits: (logits + 1).cos().sum(),
}


CASES: dict[str, tuple[type[nn.Module], Callable[[], Tensor], Use]] = {
    "multiplied loss": (Head, vectors, multiplied_loss),
    "divided loss": (Head, vectors, divided_loss),
    "tempered logits": (Head, vectors, tempered_logits),
    "shifted logits": (Head, vectors, shifted_logits),
    "multiplied loss, positions for all rows": (Sequences, tokens, multiplied_loss),
    "divided loss, positions for all rows": (Sequences, tokens, divided_loss),
}


@pytest.mark.parametrize("case", CASES)
def test_outputs_changed_in_place_are_divided_as_any_others(case: str) -> None:
    build, draw, use = CASES[case]
    model, inputs = build(), draw()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    meter = InRunShapley(model, optimizer, lambda m: m(inputs)["loss"], [*"abcd"])
    for _ in range(2):
        optimizer.zero_grad()
        expected = contributor_gradients(Used(model), inputs, LOSSES[use], WHO, 4)
        with meter.batch(WHO):
            use(model(inputs)).backward()
        found = {f"model.{name}": part for name, part in parts_of(meter).items()}
        assert_equal(found, expected)
    meter.close()


# Which gradient came back to an output before it was changed is not known: what only that could tell is refused.
REFUSED: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor], Use]] = {
    f"a parameter of the model itself, {use.__name__}": (lambda: Head(shifted=True), vectors, use) for use in LOSSES
} | {f"positions for all rows, {use.__name__}": (Sequences, tokens, use) for use in (tempered_logits, shifted_logits)}


@pytest.mark.parametrize("case", REFUSED)
def test_a_parameter_whose_part_only_the_changed_output_s_gradient_could_tell_is_refused(case: str) -> None:
    build, draw, use = REFUSED[case]
    model, inputs = build(), draw()
    meter = InRunShapley(model, torch.optim.SGD(model.parameters()), lambda m: m(inputs)["loss"], [*"abcd"])
    with pytest.raises((RowAxisError, UnaccountedGradientError)), meter.batch(WHO):
        use(model(inputs)).backward()
    meter.close()
