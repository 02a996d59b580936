"""Every layer rule equals a separate backward pass per contributor, without the fallback's help."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from attribution.ghost import rule
from tests.attribution import models
from tests.attribution.ghost.metered import ROWS, TIME, WHO, assert_equal, losses, metered_parts, tokens, vectors
from tests.attribution.oracle import contributor_gradients

Case = tuple[Callable[[], nn.Module], Callable[[], Tensor]]


def sequences() -> Tensor:
    return torch.randn(ROWS, 4, 9)


def images() -> Tensor:
    return torch.randn(ROWS, 4, 6, 7)


def volumes() -> Tensor:
    return torch.randn(ROWS, 4, 4, 5, 3)


def before_linear(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """The layer under test, with a linear layer behind it."""
    return lambda: nn.Sequential(build(), nn.Tanh(), nn.Flatten(), nn.LazyLinear(3))


def scaled(layer: nn.Module) -> nn.Module:
    """Away from the ones and zeros that a normalisation begins with."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(torch.randn_like(parameter))
    return layer


def warmed_up(layer: nn.Module) -> nn.Module:
    """In evaluation mode, with the statistics of other data."""
    layer(3 * torch.randn(ROWS, 4, 9) + 1)
    return layer.eval()


class Unbatched(nn.Module):
    """Rows along time in one unbatched sequence, through a convolution and a norm that leave them apart."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.out = nn.Conv1d(models.WIDTH, 4, 1), nn.Conv1d(4, 3, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.inner(x.t()))).t()


class AlongTime(nn.Module):
    """Rows along time in a batch of one sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.out = nn.Conv1d(models.WIDTH, 4, 1, stride=1), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.inner(x.t().unsqueeze(0)))[0].t())


RULES: dict[str, Case] = {
    "linear and layer norm": (models.Perceptron, vectors),
    "linear without bias": (lambda: models.Perceptron(bias=False), vectors),
    "embedding with padding": (
        lambda: nn.Sequential(nn.Embedding(11, 8, padding_idx=0), nn.LayerNorm(8, eps=0.1), nn.Linear(8, 3)),
        lambda: tokens() * (torch.rand(ROWS, TIME) > 0.4),
    ),
    "layer norm over two axes, without a bias": (
        lambda: nn.Sequential(nn.Linear(8, 8), nn.LayerNorm((4, 8), bias=False)),
        lambda: torch.randn(ROWS, 4, 8),
    ),
    "transformers' Conv1D": (lambda: nn.Sequential(Conv1D(12, 8), nn.Tanh(), Conv1D(3, 12)), vectors),
    "rms norm": (before_linear(lambda: nn.RMSNorm(8)), vectors),
    "rms norm over two axes, with an epsilon": (before_linear(lambda: scaled(nn.RMSNorm((4, 9), eps=0.3))), sequences),
    "group norm of vectors": (before_linear(lambda: scaled(nn.GroupNorm(2, 8, eps=0.1))), vectors),
    "group norm of images": (before_linear(lambda: scaled(nn.GroupNorm(4, 4))), images),
    "instance norm 1d": (before_linear(lambda: scaled(nn.InstanceNorm1d(4, affine=True))), sequences),
    "instance norm 2d": (before_linear(lambda: scaled(nn.InstanceNorm2d(4, affine=True, eps=0.2))), images),
    "instance norm 3d": (before_linear(lambda: scaled(nn.InstanceNorm3d(4, affine=True))), volumes),
    "instance norm, tracking": (
        before_linear(lambda: scaled(nn.InstanceNorm1d(4, affine=True, track_running_stats=True))),
        sequences,
    ),
    "instance norm with frozen statistics": (
        before_linear(lambda: warmed_up(scaled(nn.InstanceNorm1d(4, affine=True, track_running_stats=True)))),
        sequences,
    ),
    "convolution 1d": (before_linear(lambda: nn.Conv1d(4, 6, 3)), sequences),
    "convolution 1d, strided, padded, dilated": (
        before_linear(lambda: nn.Conv1d(4, 6, 3, stride=2, padding=3, dilation=2, bias=False)),
        sequences,
    ),
    "convolution 1d, same, uneven": (before_linear(lambda: nn.Conv1d(4, 6, 4, padding="same", dilation=3)), sequences),
    "convolution 1d, valid": (before_linear(lambda: nn.Conv1d(4, 6, 4, padding="valid")), sequences),
    "convolution 1d, circular": (
        before_linear(lambda: nn.Conv1d(4, 6, 3, padding=2, padding_mode="circular", stride=2)),
        sequences,
    ),
    "convolution 1d, same, reflected": (
        before_linear(lambda: nn.Conv1d(4, 6, 4, padding="same", padding_mode="reflect")),
        sequences,
    ),
    "convolution 2d": (
        before_linear(lambda: nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(0, 2), dilation=(1, 2))),
        images,
    ),
    "convolution 2d in groups": (before_linear(lambda: nn.Conv2d(4, 6, 3, groups=2, padding=1)), images),
    "convolution 2d, depthwise, replicated": (
        before_linear(lambda: nn.Conv2d(4, 8, 3, groups=4, padding=(1, 2), padding_mode="replicate")),
        images,
    ),
    "convolution 3d": (before_linear(lambda: nn.Conv3d(4, 3, (2, 3, 2), stride=(1, 2, 1), padding=(1, 0, 1))), volumes),
    "convolution of an unbatched sequence of rows": (Unbatched, vectors),
    "convolution with rows along time": (AlongTime, vectors),
}


def forbid_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_fallback(*_: object, **__: object) -> None:
        raise AssertionError("the rule's gradients did not sum to autograd's")

    monkeypatch.setattr("attribution.ghost.resolve.Resolver.resolve", no_fallback)
    monkeypatch.setattr("attribution.ghost.providers.Providers.by_fallback", no_fallback)


@pytest.mark.usefixtures("replacing")
@pytest.mark.parametrize("case", RULES)
def test_a_rule_is_right_without_the_fallback_s_help(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_fallback(monkeypatch)
    build, draw = RULES[case]
    model, inputs = build(), draw()
    model(inputs)
    loss_function = losses(inputs, "sum")
    expected = contributor_gradients(model, inputs, loss_function, WHO, 4)
    again = draw()
    more = contributor_gradients(model, again, loss_function, WHO.flip(0), 4)
    batches = [(inputs, WHO, loss_function), (again, WHO.flip(0), loss_function)]
    assert_equal(metered_parts(model, batches), {name: expected[name] + more[name] for name in expected})


def test_a_convolution_over_a_contributor_s_neighbouring_tokens_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pairs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pairs, self.out = nn.Conv1d(models.WIDTH, 4, 2, stride=2), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(torch.tanh(self.pairs(x.t().unsqueeze(0)))[0].t())

    forbid_fallback(monkeypatch)
    model, inputs = Pairs(), vectors(2 * ROWS)
    loss_function = losses(inputs, "mean")
    expected = contributor_gradients(model, inputs, loss_function, WHO, 4)
    assert_equal(metered_parts(model, [(inputs, WHO.repeat_interleave(2), loss_function)]), expected)


HAND_WRITTEN = {
    "float32 inside, float64 outside": ["llama.LlamaRMSNorm", "olmo2.Olmo2RMSNorm", "mamba2.Mamba2RMSNorm"],
    "only the mean square in float32": ["t5.T5LayerNorm", "mt5.MT5LayerNorm"],
    "float32 throughout": ["gemma.GemmaRMSNorm", "gemma3n.Gemma3nRMSNorm", "helium.HeliumRMSNorm"],
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in HAND_WRITTEN.items() for name in names])
def test_the_norms_that_transformers_writes_out_have_a_rule(
    kind: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Gemma's multiply in float32 whatever comes in: there the oracle itself is exact to that only.
    single = kind == "float32 throughout"
    torch.set_default_dtype(torch.float32 if single else torch.float64)
    forbid_fallback(monkeypatch)
    package, _, kind_name = name.partition(".")
    norm = getattr(import_module(f"transformers.models.{package}.modeling_{package}"), kind_name)
    model = nn.Sequential(nn.Linear(8, 8), scaled(norm(8)), nn.Tanh(), nn.Linear(8, 3))
    inputs = torch.randn(ROWS, TIME, 8)
    loss_function = losses(inputs, "sum")
    expected = contributor_gradients(model, inputs, loss_function, WHO, 4)
    found = metered_parts(model, [(inputs, WHO, loss_function)])
    assert_equal(found, expected, relative=1e-4 if single else 1e-9)


def test_every_class_that_a_rule_names_exists() -> None:
    for module, _, name in (kind.rpartition(".") for kind in rule._kinds if isinstance(kind, str)):
        found = find_spec(module)
        assert found is not None, module
        assert f"class {name}(" in Path(found.origin).read_text(), (module, name)


def test_a_layer_that_only_looks_like_one_with_a_rule_goes_through_the_fallback() -> None:
    class Centred(nn.RMSNorm):
        def forward(self, x: Tensor) -> Tensor:
            return (x - x.mean(-1, keepdim=True)) * self.weight

    model, inputs = nn.Sequential(nn.Linear(8, 8), Centred(8), nn.Linear(8, 3)), vectors()
    assert rule.rule_for(model[1]) is None
    loss_function = losses(inputs, "mean")
    expected = contributor_gradients(model, inputs, loss_function, WHO, 4)
    assert_equal(metered_parts(model, [(inputs, WHO, loss_function)]), expected)
