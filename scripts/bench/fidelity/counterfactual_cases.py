"""Counterfactual values beside in-run ones: the cases, and the runs that they come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np

from attribution import Counterfactual, RunRecord, replay
from attribution.counterfactual.game import Batch
from attribution.errors import RecordError
from fidelity.runner import Runner
from fidelity.sizes import BATCH
from fidelity.statistics import Floats
from fidelity.training import Case, metered

IN_RUN = ["first order", "path, step", "path, every 10", "path, run"]
CURVATURES = ["sketch", "kronecker", "companions", "exact"]
DEAR = ["companions", "exact"]  # which call the model once more a contributor and step
REPLAYS = "replays"
ROWS = "rows alone"  # a control: the improvement in proportion to rows, which takes no method
METHODS = [ROWS, *IN_RUN, *CURVATURES, REPLAYS]
RATES = {
    "digits": {"SGD": 0.2, "momentum": 0.05, "AdamW": 0.003},
    "images": {"SGD": 0.05, "momentum": 0.01, "AdamW": 0.003},
    "text": {"momentum": 0.05, "AdamW": 0.002},  # plain SGD hardly trains a transformer in so few steps
}
EVERY: list[int | str] = [1, 10, "run"]
Told = dict[Case, dict[str, list[dict[str, Any]]]]  # what each method says of each case, a list over seeds


@dataclass(frozen=True)
class Amount:
    """How much of everything; by setting where settings differ."""

    scenarios: Mapping[str, Sequence[str]] = field(
        default_factory=lambda: {
            "digits": ("quality", "mixed", "class mix", "class alone", "kinds"),
            "images": ("mixed", "class mix"),
            "text": ("domains",),
        }
    )
    optimizers: Sequence[str] = ("SGD", "momentum", "AdamW")
    steps: Mapping[str, int] = field(default_factory=lambda: {"digits": 100, "images": 60, "text": 200})
    seeds: Mapping[str, int] = field(default_factory=lambda: {"digits": 4, "images": 3, "text": 2})
    halves: Mapping[str, int] = field(default_factory=lambda: {"digits": 30, "images": 30, "text": 20})
    dear: Mapping[str, tuple[Sequence[str], int]] = field(  # which of `DEAR`, and on how many seeds
        default_factory=lambda: {"digits": (DEAR, 4), "images": (DEAR, 3), "text": (["exact"], 1)}
    )
    replay_seeds: int = 2
    replayed: Sequence[str] = ("digits",)
    nodes: int = 5
    court_optimizers: Sequence[str] = ("SGD", "AdamW")  # all coalitions of, in digits
    court_seeds: Mapping[str, int] = field(
        default_factory=lambda: {"mixed": 1, "class mix": 1, "class alone": 1, "kinds": 2}
    )
    adam_scenarios: Sequence[str] = ("mixed", "class mix")  # where several ways through AdamW are tried
    adam_seeds: int = 2
    repeats: Mapping[str, int] = field(  # of timings
        default_factory=lambda: {"digits": 7, "images": 7, "text": 3}
    )

    def cases(self) -> list[Case]:
        """One for each setting, scenario and optimizer."""
        return [
            Case(setting, scenario, optimizer, RATES[setting][optimizer], self.steps[setting], BATCH[setting])
            for setting, scenarios in self.scenarios.items()
            for scenario, optimizer in product(scenarios, self.optimizers)
            if optimizer in RATES[setting]
        ]


FULL = Amount()
QUICK = Amount(
    scenarios={"digits": ("kinds",)},
    optimizers=("AdamW",),
    steps={"digits": 2},
    seeds={"digits": 2},
    halves={"digits": 4},
    nodes=1,
    court_optimizers=("AdamW",),
    court_seeds={"kinds": 1},
    adam_scenarios=("kinds",),
    repeats={"digits": 2},
)


def in_run(case: Case) -> dict[str, Any]:
    """What one run says by every method that costs no more than a run, see `_told`."""
    first = _told(metered(case, method="first_order"), {"own": "first order"})
    others = {"own": "path, step", "10 steps": "path, every 10", "run": "path, run", "counterfactual": "sketch"}
    return first | _told(metered(case, every=EVERY, counterfactual=Counterfactual("sketch")), others)


def carried(case: Case, curvature: str) -> dict[str, Any]:
    """What one run says by another curvature, see `_told`; nothing where its values are not finite."""
    try:
        record = metered(case, counterfactual=Counterfactual(curvature))
    except RecordError:  # which refuses values that are no numbers: a finding, and no end of the bench
        return {}
    return _told(record, {"counterfactual": curvature})


def replayed(case: Case, nodes: int) -> dict[str, Any]:
    """What replays say, see `_told`."""
    model, optimizer = case.start()
    batches = [Batch(case.materials.owner[rows], case.row_losses(rows)) for rows in case.batches()]
    found = replay(model, optimizer, batches, case.validation, case.materials.contributors, nodes=nodes)
    return {REPLAYS: _figures(found.values[:, 0].tolist(), found.gap[0], found.improvement[0])}


def _told(record: RunRecord, names: Mapping[str, str]) -> dict[str, Any]:
    """Values ``[contributors]``, gap and improvement, nats, of the valuations of a record that are named.

    Of a counterfactual valuation also ``shared``, what of the values' sum is divided by progress.
    """
    found = {}
    if "own" in names:
        found[names["own"]] = _figures(record.values[:, 0].tolist(), record.gap[0], record.improvement[0])
    for key, valuation in record.beside.items():
        if key in names:
            mine = _figures(valuation.values[:, 0].tolist(), valuation.gap[0], record.improvement[0])
            if "shared" in valuation.details:
                mine["shared"] = float(valuation.details["shared"][0])
            found[names[key]] = mine
    return found


def _figures(values: list[float], gap: Any, improvement: Any) -> dict[str, Any]:
    return {"values": values, "gap": float(gap), "improvement": float(improvement)}


def by_rows(case: Case, improvement: float) -> dict[str, Any]:
    """What paying by the number of rows would say."""
    rows = np.bincount(case.materials.owner, minlength=len(case.materials.contributors))
    return _figures((improvement * rows / rows.sum()).tolist(), 0.0, improvement)


def by_seed(told: Mapping[str, list[dict[str, Any]]], method: str) -> Floats | None:
    """A method's values, nats, ``[seeds, contributors]``; None where it was not tried."""
    return np.array([seed["values"] for seed in told[method]]) if method in told else None


def told(run: Runner, amount: Amount) -> Told:
    """Of those methods alone that are tried on a case."""
    jobs: list[tuple[Callable[..., Any], Case, dict[str, Any]]] = []
    for case in amount.cases():
        for seed in range(amount.seeds[case.setting]):
            mine = replace(case, seed=seed)
            jobs.append((in_run, mine, {}))
            dear, dear_seeds = amount.dear[case.setting]
            cheap = [name for name in CURVATURES[1:] if name not in DEAR]
            chosen = [*cheap, *(dear if seed < dear_seeds else [])]
            jobs += [(carried, mine, {"curvature": name}) for name in chosen]
            if seed < amount.replay_seeds and case.setting in amount.replayed:
                jobs.append((replayed, mine, {"nodes": amount.nodes}))
    found: Told = {case: {} for case in amount.cases()}
    for function in (in_run, replayed, carried):
        chosen = [(case, options) for which, case, options in jobs if which is function]
        run.title = f"values, {function.__name__}"
        for (case, _), methods in zip(chosen, run(function, chosen), strict=True):
            for method, figures in methods.items():
                found[replace(case, seed=0)].setdefault(method, []).append(figures)
    for case, methods in found.items():
        methods[ROWS] = [by_rows(case, seed["improvement"]) for seed in methods[IN_RUN[0]]]
    return found
