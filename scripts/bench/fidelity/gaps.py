"""What each method leaves unattributed."""

from __future__ import annotations

from typing import Any

import numpy as np

from attribution import Valuation
from fidelity.runner import Runner
from fidelity.sizes import Size
from fidelity.tables import percent, table
from fidelity.training import Case, by_path, metered

# Each run's options, and under which names its paths of one or several lengths are reported.
RUNS: list[tuple[dict[str, Any], dict[int | str, str]]] = [
    ({"method": "first_order"}, {1: "first order"}),
    ({"method": "second_order"}, {1: "second order"}),
    ({"nodes": 2}, {1: "path, 2 nodes"}),
    ({"nodes": 3}, {1: "path, 3 nodes"}),
    ({"every": [1, 8, "run"]}, {1: "path", 8: "path, every 8", "run": "path, run"}),
    ({"memory": "ghost"}, {1: "ghost"}),
]
METHODS = [name for _, names in RUNS for name in names.values()]


def valuations(case: Case) -> dict[str, Valuation]:
    """What each method makes of the same training, and of the same luck."""
    found: dict[str, Valuation] = {}
    for options, names in RUNS:
        found |= by_path(metered(case, **options), names)
    return found


def gaps(case: Case) -> dict[str, Any]:
    """Each method's gap relative to the improvement, the improvement in nats, and gradients a step of the path."""
    found = valuations(case)
    path = found["path"]
    improvement = float((path.values.sum(axis=0) + path.house + path.gap)[0])
    relative = {name: float(valuation.gap[0]) / improvement for name, valuation in found.items()}
    return {"gaps": relative, "improvement": improvement, "nodes": path.nodes / case.steps}


def report(run: Runner, size: Size) -> str:
    """The largest relative gap over seeds of each method, for each setting, optimizer and learning rate."""
    cases = size.cases(size.gap_steps, size.gap_seeds)
    run.title = "gaps"
    found = dict(zip(cases, run(gaps, [(case, {}) for case in cases]), strict=True))
    rows = []
    for setting, update in dict.fromkeys((case.setting, case.update) for case in cases):
        seeds = [found[case] for case in cases if (case.setting, case.update) == (setting, update)]
        worst = [max((seed["gaps"][method] for seed in seeds), key=abs) for method in METHODS]
        improvement, nodes = (np.mean([seed[of] for seed in seeds]) for of in ("improvement", "nodes"))
        rows.append([setting, update, f"{improvement:.2f}", *map(percent, worst), f"{nodes:.1f}"])
    columns = ["setting", "update", "improvement, nats", *METHODS, "nodes a step, path"]
    much = ", ".join(f"{s} {size.gap_steps[s]} steps, {size.gap_seeds[s]} seeds" for s in size.settings)
    return (
        f"Gap relative to the improvement, of all seeds the largest ({much}). Eight contributors, of whom one has "
        "random labels; those of text are five news desks, scripture, source code and noise. A negative gap is value "
        "paid out that was never earned.\n\n" + table(columns, rows)
    )
