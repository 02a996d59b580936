"""In-run attribution: what each contributor's data did to a model, measured while it trains."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from attribution.errors import AttributionError
from attribution.record import RunRecord, Valuation

if TYPE_CHECKING:
    from attribution.counterfactual.options import Counterfactual
    from attribution.counterfactual.replay import replay
    from attribution.meter import InRunShapley
    from attribution.objective import Minibatches, Objective
    from attribution.retraining import exact_retraining
    from attribution.scores import read_scores, score_totals

__all__ = [
    "AttributionError",
    "Counterfactual",
    "InRunShapley",
    "Minibatches",
    "Objective",
    "RunRecord",
    "Valuation",
    "exact_retraining",
    "read_scores",
    "replay",
    "score_totals",
]

_LAZY = {
    "Counterfactual": "attribution.counterfactual.options",
    "InRunShapley": "attribution.meter",
    "Minibatches": "attribution.objective",
    "Objective": "attribution.objective",
    "exact_retraining": "attribution.retraining",
    "read_scores": "attribution.scores",
    "replay": "attribution.counterfactual.replay",
    "score_totals": "attribution.scores",
}


def __getattr__(name: str) -> Any:  # torch is loaded only when something here needs it
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
