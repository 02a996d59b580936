"""Layers without a rule, weights in several places, and inputs of any shape: each as the oracle has it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from attribution import InRunShapley
from tests.attribution.ghost.metered import (
    ROWS,
    TIME,
    WHO,
    assert_equal,
    losses,
    metered_parts,
    parts_of,
    tokens,
    vectors,
)
from tests.attribution.models import VOCABULARY, WIDTH, Perceptron, SequenceFirst
from tests.attribution.oracle import Inputs, contributor_gradients


def sequences() -> Tensor:
    return torch.randn(ROWS, TIME, WIDTH)


class Applied(nn.Module):
    """The layer under test between two linear layers, applied to batch-first or time-first sequences."""

    def __init__(self, layer: nn.Module, apply: Callable[[nn.Module, Tensor], Tensor], time_first: bool) -> None:
        super().__init__()
        self.inner, self.layer, self.out = nn.Linear(WIDTH, WIDTH), layer, nn.LazyLinear(3)
        self.apply_layer, self.time_first = apply, time_first

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.inner(x))
        x = self.apply_layer(self.layer, x.transpose(0, 1)).transpose(0, 1) if self.time_first else self._apply_to(x)
        return self.out(x)

    def _apply_to(self, x: Tensor) -> Tensor:
        return self.apply_layer(self.layer, x)


def recurrent(kind: str, time_first: bool = False, **options: object) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        layer = getattr(nn, kind)(WIDTH, 6, batch_first=not time_first, **options)
        return Applied(layer, lambda module, x: module(x)[0], time_first)

    return build


def attention(time_first: bool = False, **options: object) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        layer = nn.MultiheadAttention(WIDTH, 2, batch_first=not time_first, **options)
        return Applied(layer, lambda module, x: module(x, x, x)[0], time_first)

    return build


class RawParameters(nn.Module):
    """Parameters of its own, one by one, in a list and in a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(WIDTH, 5))
        self.shifts = nn.ParameterList([nn.Parameter(torch.randn(5)) for _ in range(2)])
        self.named = nn.ParameterDict({"scale": nn.Parameter(torch.randn(1, 5))})

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.weight + self.shifts[0]) * self.named["scale"] + self.shifts[1]


class Bags(nn.Module):
    """Bags of tokens of any length, told where each begins."""

    def __init__(self) -> None:
        super().__init__()
        self.bag, self.out = nn.EmbeddingBag(VOCABULARY, WIDTH, mode="sum"), nn.Linear(WIDTH, 3)

    def forward(self, ids: Tensor, offsets: Tensor) -> Tensor:
        return self.out(torch.tanh(self.bag(ids, offsets)))


BAG_LENGTHS = torch.tensor([3, 1, 5, 2, 4, 2])


def bags() -> dict[str, Tensor]:
    ids = torch.randint(0, VOCABULARY, (int(BAG_LENGTHS.sum()),))
    return {"ids": ids, "offsets": BAG_LENGTHS.cumsum(0) - BAG_LENGTHS}


def transposed_convolution(dimensions: int) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        layer = getattr(nn, f"ConvTranspose{dimensions}d")(4, 6, 3, stride=2, groups=2, output_padding=1)
        return nn.Sequential(layer, nn.Tanh(), nn.Flatten(), nn.LazyLinear(3))

    return build


def bag(**options: object) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.EmbeddingBag(VOCABULARY, WIDTH, **options), nn.Linear(WIDTH, 3))


LAYERS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Inputs]]] = {
    "ConvTranspose1d": (transposed_convolution(1), lambda: torch.randn(ROWS, 4, 5)),
    "ConvTranspose2d": (transposed_convolution(2), lambda: torch.randn(ROWS, 4, 5, 3)),
    "ConvTranspose3d": (transposed_convolution(3), lambda: torch.randn(ROWS, 4, 3, 2, 3)),
    "MultiheadAttention": (attention(), sequences),
    "MultiheadAttention, time-first": (attention(time_first=True), sequences),
    "MultiheadAttention with dropout": (attention(dropout=0.3), sequences),
    "MultiheadAttention with bias keys": (attention(add_bias_kv=True), sequences),
    "RNN": (recurrent("RNN"), sequences),
    "GRU, time-first": (recurrent("GRU", time_first=True), sequences),
    "GRU, two layers, both ways": (recurrent("GRU", num_layers=2, bidirectional=True), sequences),
    "LSTM with dropout": (recurrent("LSTM", num_layers=2, dropout=0.4), sequences),
    "LSTM, projected, time-first": (recurrent("LSTM", time_first=True, proj_size=3), sequences),
    "raw parameters": (RawParameters, vectors),
    "raw parameters inside": (lambda: nn.Sequential(nn.Linear(WIDTH, WIDTH), RawParameters()), vectors),
    "EmbeddingBag, mean": (bag(), tokens),
    "EmbeddingBag, sum, padding": (bag(mode="sum", padding_idx=0), lambda: tokens() * (tokens() > 3)),
    "EmbeddingBag, max": (bag(mode="max"), tokens),
    "EmbeddingBag with offsets, a contributor a bag": (Bags, bags),
    "PReLU": (lambda: nn.Sequential(nn.Linear(WIDTH, 5), nn.PReLU(5)), vectors),
    "TransformerEncoder": (
        lambda: nn.Sequential(
            nn.Embedding(VOCABULARY, WIDTH),
            nn.TransformerEncoder(nn.TransformerEncoderLayer(WIDTH, 2, 12, batch_first=True), 2),
            nn.Linear(WIDTH, 3),
        ),
        tokens,
    ),
} | {
    f"inputs of rank {len(shape)}": (Perceptron, lambda shape=shape: torch.randn(shape))
    for shape in ((ROWS, WIDTH), (ROWS, 1, WIDTH), (ROWS, ROWS, 3, WIDTH), (ROWS, 2, 1, 3, WIDTH))
}


@pytest.mark.parametrize("case", LAYERS)
def test_a_layer_is_divided_as_a_backward_pass_per_contributor_divides_it(case: str) -> None:
    build, draw = LAYERS[case]
    model, inputs, loss_function = build(), draw(), losses(vectors(), "several terms")
    contributor_gradients(model, inputs, loss_function, WHO, 1)  # lets lazy layers take their shape
    state = torch.get_rng_state()
    expected = contributor_gradients(model, inputs, loss_function, WHO, 4)
    torch.set_rng_state(state)
    assert_equal(metered_parts(model, [(inputs, WHO, loss_function)]), expected)


def test_bags_of_tokens_with_a_contributor_for_each_token_are_its_contributor_s() -> None:
    model, inputs, loss_function = Bags(), bags(), losses(vectors(), "mean")
    expected = contributor_gradients(model, inputs, loss_function, WHO, 4)
    of_tokens = WHO.repeat_interleave(BAG_LENGTHS)
    assert_equal(metered_parts(model, [(inputs, of_tokens, loss_function)]), expected)


@pytest.mark.parametrize("axis", [None, 1])
def test_time_first_inputs_are_found_or_stated(axis: int | None) -> None:
    model, inputs, loss_function = SequenceFirst(), tokens(TIME, ROWS), losses(vectors(), "weighted")
    expected = contributor_gradients(model, inputs, loss_function, WHO, 4, axis=1)
    assert_equal(metered_parts(model, [(inputs, WHO, loss_function)], axis=axis), expected)


TIES: dict[str, Callable[[Tied], None]] = {
    "embedding and head": lambda m: setattr(m.head, "weight", m.tokens.weight),
    "two norms of different kinds": lambda m: setattr(m.second_norm, "weight", m.first_norm.weight),
    "a norm's bias and a linear layer's": lambda m: setattr(m.linear, "bias", m.first_norm.bias),
    "a linear layer and a recurrent one": lambda m: setattr(m.gates, "weight", m.recurrent.weight_ih_l0),
    "two convolutions": lambda m: setattr(m.second_convolution, "weight", m.first_convolution.weight),
    "a linear layer and a raw parameter": lambda m: setattr(m.linear, "weight", m.raw),
}


class Tied(nn.Module):
    """Layers of many kinds, of which some share their weights."""

    def __init__(self, ties: list[str]) -> None:
        super().__init__()
        self.tokens, self.head = nn.Embedding(VOCABULARY, WIDTH), nn.Linear(WIDTH, VOCABULARY)
        self.first_norm, self.second_norm = nn.LayerNorm(WIDTH), nn.RMSNorm(WIDTH)
        self.linear, self.gates = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 3 * WIDTH)
        self.recurrent = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.first_convolution, self.second_convolution = nn.Conv1d(WIDTH, WIDTH, 1), nn.Conv1d(WIDTH, WIDTH, 1)
        self.raw = nn.Parameter(torch.randn(WIDTH, WIDTH))
        for tie in ties:
            TIES[tie](self)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids)
        x = x + self.linear(self.first_norm(x))
        x = self.second_norm(x) + self.recurrent(x)[0]
        x = x + self.second_convolution(torch.tanh(self.first_convolution(x.mT))).mT
        x = x + self.gates(x).chunk(3, dim=-1)[1] + torch.tanh(x @ self.raw)
        return self.head(x)


@pytest.mark.usefixtures("replacing")
@pytest.mark.parametrize("ties", [[], *([tie] for tie in TIES), list(TIES)], ids=lambda ties: ", ".join(ties) or "none")
def test_tied_weights_add_up_over_their_uses(ties: list[str]) -> None:
    model, inputs, loss_function = Tied(ties), tokens(), losses(vectors(), "padding-masked")
    expected = contributor_gradients(model, inputs, loss_function, WHO, 4)
    batches = [(inputs, WHO, loss_function)] * 2
    assert_equal(metered_parts(model, batches), {name: 2 * part for name, part in expected.items()})


class Sometimes(nn.Module):
    """Uses one of three branches, one of them several times, and two of them in no batch with it."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.recurrent = nn.Linear(WIDTH, WIDTH), nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.scale, self.out = nn.Parameter(torch.randn(WIDTH)), nn.Linear(WIDTH, 3)
        self.branch = 0

    def forward(self, x: Tensor) -> Tensor:
        if self.branch == 0:
            x = self.linear(torch.tanh(self.linear(x)))
        elif self.branch == 1:
            x = self.recurrent(self.recurrent(x)[0])[0]
        else:
            x = x * self.scale
        return self.out(x)


@pytest.mark.usefixtures("replacing")
def test_modules_that_a_step_does_not_call_have_no_gradient_in_it() -> None:
    model, inputs, loss_function = Sometimes(), sequences(), losses(vectors(), "mean")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    meter = InRunShapley(model, optimizer, lambda m: m(inputs).square().mean(), [*"abcd"])
    for branch in (0, 1, 2, 0, 0, 2, 1, 1):
        model.branch = branch
        optimizer.zero_grad()
        expected = contributor_gradients(model, inputs, loss_function, WHO, 4)
        with meter.batch(WHO):
            loss_function(model(inputs)).backward()
        assert_equal(parts_of(meter), expected)
        optimizer.step()
    meter.finish()
