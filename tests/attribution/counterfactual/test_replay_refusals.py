"""What a replay refuses, each in one line that names the place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attribution.counterfactual.game import Batch, ReplayError
from attribution.counterfactual.replay import replay
from attribution.errors import AttributionError, BatchError, ObjectiveError, OptionError
from attribution.errors import UnsupportedOptimizerError as UnsupportedOptimizer
from attribution.objective import Minibatches
from tests.attribution.counterfactual.weighted import NAMES, as_batches
from tests.attribution.runs import batches, classifier, objective


class Counter(nn.Module):
    """Counts its calls in a buffer: in place, or in a new tensor."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.in_place = in_place

    def forward(self, x: Tensor) -> Tensor:
        if self.in_place:
            self.calls += 1
        else:
            self.calls = self.calls + 1
        return x


class Untangled(torch.autograd.Function):
    """Has no forward derivative."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


def data(**changed: Any) -> list[Batch]:
    """Three batches, the last with other parts."""
    *others, last = as_batches(batches(3, 3))
    return [*others, replace(last, **changed)]


def of_rows(change: Callable[[Tensor], Any]) -> list[Batch]:
    losses = as_batches(batches(3, 3))[2].losses
    return data(losses=lambda model: change(losses(model)))


class Shuffled:
    """Gives other batches each time, by their contributors or by their contents alone."""

    def __init__(self, what: str) -> None:
        self.what, self.time = what, 0

    def __call__(self) -> list[Batch]:
        self.time += 1
        given = as_batches(batches(3, 3))
        if self.what == "who":
            return [replace(batch, who=(batch.who + self.time) % 3) for batch in given]
        if self.what == "rows":
            return [replace(batch, losses=given[self.time % 3].losses) for batch in given]
        if self.what == "rate":
            return [replace(batch, rate=0.1 / self.time) for batch in given]
        return given[: -self.time] if self.what == "fewer" else given + given[: self.time]


BATCHES = {
    "index": (lambda: data(who=torch.arange(8)), BatchError, "step 2, row 3: .* 3 is not in -1..2"),
    "negative": (lambda: data(who=torch.full((8,), -2)), BatchError, "step 2, row 0: .* -2 is not in -1..2"),
    "who's type": (lambda: data(who=torch.zeros(8)), BatchError, r"step 2: who must be a LongTensor \[rows\]"),
    "rate": (lambda: data(rate=-0.1), BatchError, "step 2: rate must be one finite number"),
    "rates": (lambda: data(rate=[0.1, 0.2]), BatchError, "step 2: rate must be one finite number"),
    "a pair": (lambda: [(1, 2)], BatchError, r"step 0: batches must give Batch\(who, losses, rate\), not tuple"),
    "nan": (lambda: of_rows(lambda rows: rows * float("nan")), ReplayError, "step 2 at weight 1: .* not finite"),
    "scalar": (lambda: of_rows(lambda rows: rows.mean()), ReplayError, r"step 2 at weight 1: .* each of the 8 rows"),
    "number": (lambda: of_rows(lambda rows: 1.0), ReplayError, r"step 2 at weight 1: .* \[8\], not float"),
    "detached": (lambda: of_rows(lambda rows: rows.detach()), ReplayError, "step 2 at weight 1: .* without a gradient"),
    "untangled": (lambda: of_rows(Untangled.apply), ReplayError, "step 2 at weight 0.5: .* forward differentiation"),
    "no batch": (list, ReplayError, "gave no batch"),
    "used up": (lambda: iter(data()), OptionError, "batches must be a sequence, or a callable"),
    "other who": (lambda: Shuffled("who"), ReplayError, "step 0 at weight 0: the batches are not those of the run"),
    "other rate": (lambda: Shuffled("rate"), ReplayError, "step 0 at weight 0: the batches are not those of the run"),
    "other rows": (lambda: Shuffled("rows"), ReplayError, "step 0: the losses at the start are not those"),
    "fewer": (lambda: Shuffled("fewer"), ReplayError, "step 1 at weight 0: the batches are not those of the run"),
    "more": (lambda: Shuffled("more"), ReplayError, "step 4 at weight 0: the batches are not those of the run"),
}  # fmt: skip


def refusal(
    kind: type[AttributionError], saying: str, given: Any, model: nn.Module | None = None, **options: Any
) -> None:
    model = classifier() if model is None else model
    optimizer = options.pop("optimizer", torch.optim.SGD)(model.parameters(), lr=0.1)
    goal, names = options.pop("goal", objective()), options.pop("names", NAMES)
    with pytest.raises(kind, match=saying) as caught:
        replay(model, optimizer, given, goal, names, **{"nodes": 1, "substitution": 1} | options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("case", BATCHES)
def test_batches_that_cannot_be_replayed(case: str) -> None:
    given, kind, saying = BATCHES[case]
    refusal(kind, saying, given())


@pytest.mark.parametrize(
    ("options", "saying"),
    [
        ({"nodes": 0}, "nodes must be a whole number from 1 on, not 0"),
        ({"nodes": 2.5}, "nodes must be a whole number from 1 on, not 2.5"),
        ({"substitution": 0.5}, "substitution must be 'losses' or a power from 1 on, not 0.5"),
        ({"substitution": "gauss"}, "substitution must be 'losses' or a power from 1 on, not 'gauss'"),
        ({"chunk": 0}, "chunk must be a number of contributors from 1 on"),
        ({"preconditioner": "mine"}, "preconditioner 'mine' is not one of recorded, own"),
        ({"names": ["ann", "ann"]}, "each once and none empty"),
        ({"goal": Minibatches(lambda model, batch: model(batch).mean(), [torch.ones(2, 6)])}, "not Minibatches"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], saying: str) -> None:
    refusal(OptionError, saying, data(), **options)


@pytest.mark.parametrize("kind", [torch.optim.RMSprop, type("Mine", (torch.optim.SGD,), {})])
def test_an_optimizer_that_no_rule_knows_is_named(kind: Any) -> None:
    refusal(
        UnsupportedOptimizer, f"optimizer {kind.__name__} cannot be replayed: use one of SGD", data(), optimizer=kind
    )


def test_amsgrad_has_no_preconditioner_of_its_own() -> None:
    def amsgrad(parameters: Any, lr: float) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr=lr, amsgrad=True)

    refusal(OptionError, "preconditioner='recorded'", data(), optimizer=amsgrad, preconditioner="own")


def test_batch_normalisation_is_refused_in_training_and_serves_in_evaluation() -> None:
    model = nn.Sequential(nn.BatchNorm1d(6), classifier())
    refusal(ReplayError, "module '0' .BatchNorm1d. cannot be replayed: .* GroupNorm", data(), model)
    model[0].eval()
    found = replay(model, torch.optim.SGD(model.parameters(), lr=0.1), data(), objective(), NAMES, nodes=1)
    assert found.values.any()


@pytest.mark.parametrize("in_place", [True, False])
def test_a_buffer_that_training_writes_to_is_named_and_left_as_it_was(in_place: bool) -> None:
    model = nn.Sequential(Counter(in_place), classifier())
    refusal(ReplayError, "step 0 at weight 1: training writes to the buffer '0.calls'", data(), model)
    assert model[0].calls == 0


def test_a_model_without_anything_to_train() -> None:
    refusal(OptionError, "nothing would be trained", data(), classifier().requires_grad_(False))


def test_a_training_that_diverges_names_step_and_weight() -> None:
    def bold(parameters: Any, lr: float) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=1e308)

    refusal(
        ReplayError, r"step \d at weight 1: .* not finite: train with a lower learning rate", data(), optimizer=bold
    )


@pytest.mark.parametrize(
    ("kind", "goal", "saying"),
    [
        (ObjectiveError, lambda model: model[0].weight, "task 'objective' must return a scalar tensor"),
        (
            ReplayError,
            lambda model: model[0].weight.sum() * float("inf"),
            "the loss or its gradient before training is",
        ),
    ],
)
def test_an_objective_that_is_no_loss(kind: Any, goal: Any, saying: str) -> None:
    refusal(kind, saying, data(), goal=goal)
