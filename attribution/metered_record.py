"""From a finished run's steps to its record."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from attribution.counterfactual.absence import NAME, Absence
from attribution.manifest import versions
from attribution.options import Every, Method
from attribution.record import Floats, RunRecord, Steps
from attribution.row_scores import RowScores
from attribution.valuation import Valuation
from attribution.valued_steps import ValuedSteps

BEYOND = 10  # so many times the improvement and the largest step value no value of absence is to be trusted


def record_of(
    steps: ValuedSteps,
    scores: RowScores,
    absence: Absence | None,
    method: Method,
    *,
    contributors: list[str],
    tasks: list[str],
    weights: Floats,
    memory: str,
    details: Mapping[str, Any],
) -> RunRecord:
    """The record of a run whose steps have ended; `details` is what its manifest says besides."""
    main = steps.windows[0]
    said: dict[str, Any] = {
        "method": {
            "name": method.name,
            "tolerance": method.tolerance,
            "nodes": method.nodes,
            "every": main.every,
            "memory": memory,
        },
        "optimizer_steps": steps.count,
        "skipped_steps": steps.skipped,
        "versions": versions(),
        **details,
    }
    if absence is not None and absence.tangents.stopped is not None:
        said["counterfactual"] = {"stopped": absence.tangents.stopped}
    if method.name == "exact":
        said["method"] |= {"permutations": method.permutations, "seed": method.seed}
    path = scores.close()
    if path is not None:
        said["samples"] = {"scores": scores.samples, "values_less_scores": scores.difference.tolist()}
    rows = Steps.of(main.rows, len(contributors), len(tasks))
    return RunRecord(
        contributors=contributors,
        tasks=tasks,
        weights=weights,
        steps=rows,
        details=said,
        complete=steps.stopped is None,
        stopped=steps.stopped,
        beside=_beside(steps, absence, rows.improvement(steps.telescopes)),
        standard_errors=main.standard_errors,
        telescopes=steps.telescopes,
        scores=path,
    )


def _beside(steps: ValuedSteps, absence: Absence | None, improvement: Floats) -> dict[str, Valuation]:
    """Valuations beside the record's own."""
    found = {_name(window.every): window.valuation(improvement) for window in steps.windows[1:]}
    if absence is not None and absence.tangents.stopped is None:
        stepwise = next(window for window in steps.windows if window.direct).valuation(improvement)
        found[NAME] = absence.valuation(improvement, stepwise.house, stepwise.nodes)
        largest, least = np.abs(found[NAME].values).max(initial=0), np.abs(stepwise.values).max(initial=0)
        if largest > BEYOND * (least + np.abs(improvement).max(initial=0)):
            warnings.warn(
                f"a counterfactual value is {largest:.2g} nats, of an improvement of {np.abs(improvement).max():.2g}: "
                "tangents grew without bound; do not pay by them, try another curvature or a lower learning rate",
                RuntimeWarning,
                stacklevel=4,
            )
    return found


def _name(every: Every) -> str:
    """What a valuation by paths of this length is called."""
    return "run" if every == "run" else "step" if every == 1 else f"{every} steps"
