"""What each method costs, in plain trainings and in vectors of parameters."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from attribution import Counterfactual, InRunShapley
from fidelity.counterfactual_cases import CURVATURES, FULL, RATES, REPLAYS, Amount, replayed
from fidelity.runner import Runner
from fidelity.sizes import BATCH
from fidelity.tables import table
from fidelity.training import Case, metered, trained

STEP = "path, step"
OPTIONS: dict[str, dict[str, Any]] = {
    STEP: {},
    **{name: {"counterfactual": Counterfactual(name)} for name in CURVATURES},
}


def cost(case: Case, repeats: int, nodes: int) -> dict[str, Any]:
    """Processor seconds ``[repeats]`` of training plainly and with each method, all in turn, and vectors held."""
    loops: dict[str, Callable[[], Any]] = {"plain": lambda: trained(case)}
    for name, options in OPTIONS.items():
        loops[name] = lambda options=options: metered(case, **options)
    if nodes:
        loops[REPLAYS] = lambda: replayed(case, nodes)
    found: dict[str, list[float]] = {name: [] for name in loops}
    for repeat in range(repeats + 1):
        for name, train in loops.items():
            if name == REPLAYS and repeat > 1:
                continue  # so long that once says enough
            began = time.process_time()
            train()
            if repeat:  # the first warms up
                found[name].append(time.process_time() - began)
    model, optimizer = case.start()
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    held = {}
    for name, options in OPTIONS.items():
        meter = InRunShapley(model, optimizer, case.validation, case.materials.contributors, **options)
        held[name] = meter.footprint.total / size
        meter.close()
    return {"seconds": found, "vectors": held}


def costs(run: Runner, amount: Amount) -> str:
    """Costs of training with eight contributors."""
    run.title = "cost"
    cases = [
        Case(setting, "domains" if setting == "text" else "equal", optimizer, rate, min(30, amount.steps[setting]))
        for setting in amount.scenarios
        for optimizer, rate in RATES[setting].items()
        if optimizer in ("SGD", "momentum", "AdamW") and optimizer in amount.optimizers
    ]
    cases = [replace(case, batch=BATCH[case.setting]) for case in cases]
    options = [{"repeats": amount.repeats, "nodes": amount.nodes * (c.setting in amount.replayed)} for c in cases]
    names = [*OPTIONS, REPLAYS]
    rows, memory = [], []
    for case, found in zip(cases, run(cost, list(zip(cases, options, strict=True))), strict=True):
        plain = found["seconds"]["plain"]
        cells = [_ratio(found["seconds"].get(name, []), plain) for name in names]
        rows.append([case.setting, case.update, f"{1000 * np.median(plain) / case.steps:.1f}", *cells])
        held = [found["vectors"][name] for name in OPTIONS]
        memory.append([case.setting, case.update, *(f"{vectors:.0f}" for vectors in held)])
    return (
        "Training with each method in plain trainings: processor time of the same run with the meter to that of the "
        f"run without, eight contributors, of {amount.repeats} repetitions in turn the median, and the quartiles. A "
        "plain training takes no validation gradient; the meter takes one a step or more, on a validation set of 400 "
        f"rows (digits), 500 (images) and 56 (text). Replays: {FULL.nodes} nodes, and 13 trainings without tangents to "
        "find where to put them.\n\n"
        + table(["setting", "update", "plain, ms a step", *names], rows)
        + "\n\nWhat the meter holds beside training, in vectors as long as the parameters, by its own account:\n\n"
        + table(["setting", "update", *OPTIONS], memory)
    )


def _ratio(mine: list[float], plain: list[float]) -> str:
    if not mine:
        return ""
    ratios = [a / b for a, b in zip(mine, plain, strict=False)]
    if len(ratios) == 1:
        return f"{ratios[0]:.1f}"
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    return f"{middle:.1f} ({low:.1f}–{high:.1f})"
