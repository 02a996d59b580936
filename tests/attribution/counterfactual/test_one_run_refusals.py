"""What values of absence from one run are refused for, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from attribution import Counterfactual, InRunShapley
from attribution.errors import AttributionError, OptionError, UnsupportedOptimizerError
from tests.attribution.counterfactual.weighted import NAMES
from tests.attribution.runs import classifier, objective


class Unknown(torch.optim.SGD):
    """Of a kind that nobody knows."""


REFUSED: dict[str, tuple[dict[str, Any], type[AttributionError], str]] = {
    "ghost memory": ({"memory": "ghost"}, OptionError, "counterfactual values need memory='buffered'"),
    "no path for each step": ({"every": "run"}, OptionError, "a path for each step"),
    "paths of two steps": ({"every": (2, "run")}, OptionError, "a path for each step"),
    "enumerated": ({"method": "exact"}, OptionError, "not method 'exact'"),
    "no option": ({"counterfactual": "sketch"}, OptionError, "counterfactual is True, False or"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_meter_that_cannot_is_refused(case: str) -> None:
    options, error, message = REFUSED[case]
    model = classifier()
    with pytest.raises(error, match=message):
        InRunShapley(
            model,
            torch.optim.SGD(model.parameters(), lr=0.1),
            objective(),
            NAMES,
            **({"counterfactual": True} | options),
        )


@pytest.mark.parametrize("kind", [torch.optim.RMSprop, torch.optim.Adagrad, torch.optim.NAdam, torch.optim.RAdam])
def test_an_optimizer_without_tangents_is_refused_by_name(kind: type[torch.optim.Optimizer]) -> None:
    model = classifier()
    optimizer = kind(model.parameters(), lr=0.01)
    with pytest.raises(UnsupportedOptimizerError, match=rf"optimizer {kind.__name__}, for counterfactual values"):
        InRunShapley(model, optimizer, objective(), NAMES, counterfactual=True)


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_amsgrad_is_refused(kind: Callable[..., torch.optim.Optimizer]) -> None:
    model = classifier()
    with pytest.raises(OptionError, match="no amsgrad=True"):
        InRunShapley(model, kind(model.parameters(), amsgrad=True), objective(), NAMES, counterfactual=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"curvature": "newton"}, "curvature 'newton' is not one of sketch, kronecker, companions, exact"),
        ({"reduction": "none"}, "reduction 'none' is not one of mean, sum"),
        ({"reach": 0.0}, "reach must be a part above 0 and below 1"),
        ({"reach": 1.0}, "reach must be a part above 0 and below 1"),
        ({"reach": float("nan")}, "reach must be a part above 0 and below 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Counterfactual(**options)
