"""Metered runs of the bench's small models that keep what each contributor did to the parameters."""

from __future__ import annotations

from typing import Any

from fidelity.models import mean_loss
from fidelity.training import Case
from torch import nn

from attribution import InRunShapley, RunRecord
from attribution.displacements import Displacements


def displaced(case: Case, **options: Any) -> tuple[nn.Module, Displacements, RunRecord]:
    """The trained model, what everybody did to its parameters, and the run's record."""
    data, (model, optimizer) = case.materials, case.start()
    options = {"every": "run", **options}
    meter = InRunShapley(model, optimizer, case.validation, data.contributors, keep_displacements="run", **options)
    for rows in case.batches():
        with meter.batch(data.owner[rows]):
            mean_loss(model, data.inputs[rows], data.targets[rows]).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, meter.run_displacements, meter.finish()
