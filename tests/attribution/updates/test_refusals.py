"""What no rule describes is refused by name, before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import lion_pytorch
import pytest
import torch
from torch import nn, optim

from attribution import InRunShapley
from attribution.errors import ReconciliationError, UnsupportedOptimizerError
from attribution.updates import Share, Slot, UpdateRule, register, rule_for
from tests.attribution.runs import batches, classifier, objective
from tests.attribution.updates.cases import CASES, NAMES, trace

Build = Callable[[Sequence[nn.Parameter]], optim.Optimizer]
REFUSED: dict[str, Build] = {
    "LBFGS": optim.LBFGS,
    "SparseAdam": optim.SparseAdam,
    "Adafactor": optim.Adafactor,
    "Adam with differentiable=True": lambda p: optim.Adam(p, differentiable=True),
    "SGD with differentiable=True": lambda p: optim.SGD([{"params": p, "differentiable": True}], lr=0.1),
    "Lion with decoupled_weight_decay=True": lambda p: lion_pytorch.Lion(p, decoupled_weight_decay=True),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_rule_describes_is_refused_by_name_with_what_there_is_instead(name: str) -> None:
    model = classifier()
    optimizer = REFUSED[name](list(model.parameters()))
    with pytest.raises(UnsupportedOptimizerError, match=f"^optimizer {name} has no update rule: use one of ASGD, "):
        InRunShapley(model, optimizer, objective(), NAMES)


@pytest.mark.parametrize("case", sorted({case.kind.__name__: name for name, case in CASES.items()}.values()))
def test_a_subclass_with_a_step_of_its_own_is_refused_and_one_without_is_not(case: str) -> None:
    kind, options = CASES[case].kind, CASES[case].options

    class Mine(kind):
        def step(self, closure: object = None) -> None:
            super().step()

    class Renamed(kind):
        pass

    parameters = [nn.Parameter(torch.ones(2, 2))]
    with pytest.raises(UnsupportedOptimizerError, match="optimizer Mine has no update rule"):
        rule_for(Mine(parameters, **options))
    assert rule_for(Renamed(parameters, **options)) is rule_for(kind(parameters, **options))


def test_whether_a_subclass_is_refused_does_not_depend_on_which_optimizer_was_made_first() -> None:
    class Parent(optim.Optimizer):
        def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
            super().__init__(parameters, {})

        def step(self, closure: object = None) -> None:
            pass

    class Child(Parent):
        pass

    @register(Parent)
    class Nothing(UpdateRule):
        pass

    parameters = [nn.Parameter(torch.ones(2))]
    for kind in (Child, Parent, Child):
        assert isinstance(rule_for(kind(parameters)), Nothing)


def test_a_rate_that_is_a_tensor_divides_as_the_number_it_holds() -> None:
    case = CASES["AdamW"]
    expected = trace(case, 3, oracle=False, foreach=False)
    found = trace(case, 3, oracle=False, foreach=False, lr=torch.tensor(case.options["lr"]))
    for one, other in zip(expected, found, strict=True):
        for a, b in zip(one, other, strict=True):
            assert torch.allclose(a.displacements, b.displacements, rtol=1e-12, atol=1e-18)


def test_a_rule_that_is_wrong_is_found_at_its_first_step() -> None:
    class Halving(optim.SGD):
        @torch.no_grad()
        def step(self, closure: object = None) -> None:
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.sub_(parameter.grad, alpha=0.5 * group["lr"])

    @register(Halving)
    class Wrong(UpdateRule):
        def divide(self, slot: Slot) -> Share:
            return Share(slot.direction(), -slot.options["lr"])

    model = classifier()
    optimizer = Halving(model.parameters(), lr=0.1)
    meter = InRunShapley(model, optimizer, objective(), NAMES)
    inputs, targets, who = batches(1, 3)[0]
    with meter.batch(who):
        nn.functional.cross_entropy(model(inputs), targets).backward()
    with pytest.raises(ReconciliationError, match="step 0"):
        optimizer.step()
