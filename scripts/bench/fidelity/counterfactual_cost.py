"""What each method costs, in plain trainings and in vectors of parameters."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

from attribution import Counterfactual, InRunShapley
from fidelity.counterfactual_cases import CURVATURES, FULL, RATES, REPLAYS, Amount, replayed
from fidelity.runner import Runner
from fidelity.sizes import BATCH
from fidelity.tables import table
from fidelity.training import Case, metered, trained

STEP = "path, step"
STEPS = {"digits": 20, "images": 20, "text": 10}
OPTIONS: dict[str, dict[str, Any]] = {
    STEP: {},
    **{name: {"counterfactual": Counterfactual(name)} for name in CURVATURES},
}


def cost(case: Case, method: str, repeats: int, nodes: int) -> dict[str, Any]:
    """Processor seconds ``[repeats]`` of training plainly and with a method, in turn."""
    options = OPTIONS.get(method)

    def valued() -> Any:
        return replayed(case, nodes) if options is None else metered(case, **options)

    loops: dict[str, Callable[[], Any]] = {"plain": lambda: trained(case), "valued": valued}
    found: dict[str, Any] = {name: [] for name in loops}
    for repeat in range(repeats + 1):
        for name, train in loops.items():
            began = time.process_time()
            train()
            if repeat:  # the first warms up
                found[name].append(time.process_time() - began)
    return found


def held(case: Case, method: str) -> float:
    """What the meter holds beside training, by its own account, in vectors as long as the parameters."""
    model, optimizer = case.start()
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    meter = InRunShapley(model, optimizer, case.validation, case.materials.contributors, **OPTIONS[method])
    meter.close()
    return meter.footprint.total / size


def costs(run: Runner, amount: Amount) -> str:
    """Costs of training with eight contributors."""
    run.title, rows, memory = "cost", [], []
    names = [*OPTIONS, REPLAYS]
    much = ", ".join(f"{s} {STEPS[s]} steps, {amount.repeats[s]} times" for s in amount.scenarios)
    for setting, optimizer in product(amount.scenarios, amount.optimizers):
        if optimizer not in RATES[setting]:
            continue
        scenario, steps = "domains" if setting == "text" else "equal", min(STEPS[setting], amount.steps[setting])
        case = Case(setting, scenario, optimizer, RATES[setting][optimizer], steps, BATCH[setting])
        tried = names if setting in amount.replayed else names[:-1]
        repeats = [1 if name == REPLAYS else amount.repeats[setting] for name in tried]
        options = [{"method": n, "repeats": r, "nodes": amount.nodes} for n, r in zip(tried, repeats, strict=True)]
        found = dict(zip(tried, run(cost, [(case, given) for given in options]), strict=True))
        plain = np.median([seconds for one in found.values() for seconds in one["plain"]])
        cells = [_ratio(found[name]) if name in found else "" for name in names]
        rows.append([setting, case.update, f"{1000 * plain / steps:.1f}", *cells])
        memory.append([setting, case.update, *(f"{held(case, name):.0f}" for name in OPTIONS)])
    return (
        f"Training with each method ({much}), in plain trainings: processor time of the run with the meter to that of "
        "the same run without, in turn, the median of the repetitions, and the quartiles. Eight contributors. A plain "
        "training takes no validation gradient; the meter takes one a step or more, on a "
        "validation set of 400 rows (digits), 500 (images) and 56 (text), beside batches of 64, 64 and 16. Replays: "
        f"{FULL.nodes} nodes, and 13 trainings without tangents to find where to put them.\n\n"
        + table(["setting", "update", "plain, ms a step", *names], rows)
        + "\n\nWhat the meter holds beside training, in vectors as long as the parameters, by its own account:\n\n"
        + table(["setting", "update", *OPTIONS], memory)
    )


def _ratio(found: dict[str, list[float]]) -> str:
    ratios = [a / b for a, b in zip(found["valued"], found["plain"], strict=True)]
    if len(ratios) == 1:
        return f"{ratios[0]:.1f}"
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    return f"{middle:.1f} ({low:.1f}–{high:.1f})"
