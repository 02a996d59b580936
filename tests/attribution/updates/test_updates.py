"""The division of every optimizer's step: it adds up, and each part is what its own gradients did."""

from __future__ import annotations

import sys
from functools import cache

import pytest
import torch
from torch import Tensor, optim

from attribution.updates import rule_for
from tests.attribution.runs import classifier
from tests.attribution.updates.cases import CASES, NAMES, Case, Moment, trace


@cache
def told(case: str) -> list[list[Moment]]:
    """The run that several claims are about."""
    return trace(CASES[case])


@cache
def plain(case: str) -> list[list[Moment]]:
    """The run of the simplest implementation, one tensor at a time."""
    return trace(CASES[case], 4, oracle=False, foreach=False)


def replayed(case: Case, moments: list[Moment]) -> list[Tensor]:
    """What the parts' gradients do to a parameter by hand, with the scaling of the whole run."""
    hand = case.hand(moments[0].options)
    found = []
    for moment in moments:
        hand.o = options = moment.options
        house = torch.zeros_like(moment.start)
        gradients = torch.cat([moment.gradients, house.unsqueeze(0)])
        if options.get("maximize"):
            gradients = -gradients
        weight_decay = options.get("weight_decay", 0.0)
        if not case.decoupled:
            gradients[-1] += weight_decay * moment.start
        hand.observe(gradients.sum(0))
        displacements = hand.move(gradients)
        if case.decoupled:
            displacements[-1] -= options["lr"] * weight_decay * moment.start
        if case.kind is optim.ASGD:
            displacements[-1] -= hand.rate * options["lambd"] * moment.start
        found.append(displacements)
    return found


def assert_as_by_hand(case: Case, told: list[list[Moment]]) -> None:
    for moments in told:
        for moment, expected in zip(moments, replayed(case, moments), strict=True):
            found = moment.displacements
            if case.kind is optim.Muon:  # by hand it is not rounded to bfloat16, which is the house's
                found, expected = found[:-1], expected[:-1]
            scale = float(expected.abs().max())
            assert scale > 1e-5
            assert torch.allclose(found, expected, rtol=1e-9, atol=1e-11 * scale)


@pytest.mark.parametrize("case", CASES)
def test_each_part_is_displaced_by_its_own_gradients_under_the_scaling_of_all(case: str) -> None:
    assert_as_by_hand(CASES[case], told(case))


@pytest.mark.parametrize("case", CASES)
def test_gradients_that_pile_up_over_the_steps_stay_whose_they_were(case: str) -> None:
    assert_as_by_hand(CASES[case], trace(CASES[case], 3, zero=False))


@pytest.mark.parametrize("case", CASES)
def test_the_parts_add_up_to_the_step(case: str) -> None:
    for moments in told(case):
        for moment in moments:
            parts = moment.displacements
            rounding = 1e-12 * float(parts.abs().sum(0).max())
            assert parts.sum(0) == pytest.approx(moment.end - moment.start, rel=0, abs=1e-13 + rounding)


@pytest.mark.parametrize("case", CASES)
def test_who_has_no_rows_moves_nothing_and_who_was_here_moves_on_by_momentum_alone(case: str) -> None:
    carol, dave = NAMES.index("carol"), NAMES.index("dave")
    rule = rule_for(CASES[case].optimizer(classifier()))
    for moments in told(case):
        assert not any(moment.displacements[dave].any() for moment in moments)
        moving = [bool(moment.displacements[carol].any()) for moment in moments[1::2]]
        assert moving == [rule.remembers(moments[0].options)] * len(moving)


@pytest.mark.parametrize("case", CASES)
def test_what_the_optimizer_remembers_from_before_the_meter_is_the_house_s(case: str) -> None:
    for moments in trace(CASES[case], 3, oracle=False, warm=3):
        for moment in moments:
            rounding = 1e-12 * float(moment.displacements.abs().sum(0).max())
            moved = moment.end - moment.start
            assert moment.displacements.sum(0) == pytest.approx(moved, rel=0, abs=1e-13 + rounding)
            assert not moment.displacements[NAMES.index("dave")].any()


@pytest.mark.parametrize("case", CASES)
def test_in_stretches_or_bundled_with_others_a_parameter_is_divided_alike(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("attribution.slots.STRETCH", 7)
    monkeypatch.setattr("attribution.parameters.SMALL", 0)
    for one, other in zip(told(case), trace(CASES[case], 3, oracle=False), strict=True):
        for a, b in zip(one[:3], other, strict=True):
            scale = float(a.displacements.abs().max())
            assert torch.allclose(a.displacements, b.displacements, rtol=1e-9, atol=1e-11 * scale)


@pytest.mark.parametrize("case", [name for name, case in CASES.items() if case.foreach])
def test_every_implementation_of_an_optimizer_divides_alike(case: str) -> None:
    chosen = CASES[case]
    expected = plain(case)
    variants = [{"foreach": True}] + [{"fused": True}] * chosen.fused
    for variant in variants:
        for one, other in zip(expected, trace(chosen, 4, oracle=False, **variant), strict=True):
            for a, b in zip(one, other, strict=True):
                scale = float(a.displacements.abs().max())
                assert torch.allclose(a.displacements, b.displacements, rtol=1e-9, atol=1e-11 * scale)


CAPTURABLE = [name for name, case in CASES.items() if case.foreach and not case.fused] + ["Adam", "AdamW"]


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("case", CAPTURABLE)
def test_capturable_implementations_divide_alike(case: str, foreach: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = CASES[case]
    expected = plain(case)
    for module in ("adam", "nadam", "radam", "rmsprop", "adadelta", "adamax", "asgd", "rprop"):
        there = sys.modules[f"torch.optim.{module}"]
        monkeypatch.setattr(there, "_get_capturable_supported_devices", lambda **_: ["cpu"])
    found = trace(chosen, 4, oracle=False, foreach=foreach, capturable=True)
    for one, other in zip(expected, found, strict=True):
        for a, b in zip(one, other, strict=True):
            scale = float(a.displacements.abs().max())
            assert torch.allclose(a.displacements, b.displacements, rtol=1e-9, atol=1e-11 * scale)


@pytest.mark.parametrize("case", CASES)
def test_in_single_precision_the_parts_add_up_to_its_rounding(case: str) -> None:
    torch.set_default_dtype(torch.float32)
    for moments in trace(CASES[case], 6, oracle=False):
        for moment in moments:
            parts = moment.displacements
            missing = (parts.sum(0) - (moment.end - moment.start)).abs()
            assert (missing <= 64 * 1.2e-7 * (parts.abs().sum(0) + moment.start.abs())).all()
