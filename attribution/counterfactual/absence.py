"""The counterfactual side of a meter: its tangents, its curvature, and the valuation that comes of them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from attribution.counterfactual.again import Pass, RandomState
from attribution.counterfactual.companions import Companions
from attribution.counterfactual.curvature import Curvature
from attribution.counterfactual.exact import Exact
from attribution.counterfactual.game import Batch, Losses
from attribution.counterfactual.kronecker import Kronecker
from attribution.counterfactual.one_run import CarriedTangents
from attribution.counterfactual.options import Counterfactual, checked_counterfactual
from attribution.counterfactual.sketch import Sketch
from attribution.errors import BatchError
from attribution.ghost.factors import KeptBatch
from attribution.ghost.signed import SignedParts
from attribution.parameters import ParameterSpace
from attribution.steps import Floats
from attribution.valuation import Valuation

NAME = "counterfactual"  # of the valuation beside the record's own


class Absence:
    """What a meter keeps so as to value absence, by its `options`. Raises what `CarriedTangents` does."""

    def __init__(
        self,
        options: Counterfactual,
        model: nn.Module,
        optimizer: Optimizer,
        space: ParameterSpace,
        contributors: int,
        tasks: int,
    ) -> None:
        self.options = options
        self.signed: SignedParts | None = None
        curvature: Curvature
        if options.curvature == "sketch":
            self.signed = SignedParts(space, contributors, options.seed)
            curvature = Sketch(space, self.signed, options.reduction)
        elif options.curvature == "exact":
            curvature = Exact(model, space)
        elif options.curvature == "companions":
            curvature = Companions(model, space, options.reach)
        else:
            curvature = Kronecker(space, options.reduction)
        self._began: RandomState | None = None
        self.tangents = CarriedTangents(optimizer, space, contributors, tasks, curvature)

    @classmethod
    def of(cls, given: Any, *arguments: Any) -> Absence | None:
        """By the meter's option `counterfactual`: None where it was not asked for. Raises `OptionError`."""
        options = checked_counterfactual(given)
        return None if options is None else cls(options, *arguments)

    @property
    def buffers(self) -> int:
        """How many vectors of P a contributor it holds: a sketch or product, tangents of parameters and moments."""
        return 4

    def begin(self, who: Tensor, kept: KeptBatch | None) -> KeptBatch | None:
        """A batch begins: where it is to keep its layers' factors, because scores do or the curvature needs them."""
        if self.options.needs_losses:
            self._began = RandomState.present()
        return KeptBatch(who, None) if kept is None and self.tangents.curvature.needs_factors else kept

    def batch(self, who: Tensor, kept: KeptBatch | None, losses: Losses | None) -> None:
        """A batch was metered. Raises `BatchError` where its losses are needed and were not given."""
        if losses is None and self.options.needs_losses:
            raise BatchError(
                f"curvature {self.options.curvature!r} computes rows' losses again: give meter.batch(who, losses=...), "
                "what each row adds to the batch's loss, [rows], from the model"
            )
        began, self._began = self._began, None
        if self.tangents.stopped is not None:
            return
        given = None if losses is None or began is None else Pass(Batch(who, losses), began)
        self.tangents.curvature.batch(kept, given)

    def valuation(self, improvement: Floats, house: Floats, nodes: int) -> Valuation:
        """The valuation so far, beside the step values whose `house` and `nodes` it shares."""
        values = self.tangents.values
        details = {"every": 1, "method": NAME, **asdict(self.options), "shared": self.tangents.shared.tolist()}
        if self.tangents.curvature.without:
            details["without_curvature"] = self.tangents.curvature.without
        return Valuation(values, house, improvement - values.sum(axis=0) - house, nodes=nodes, details=details)
