"""Every method against enumeration of the step games, and the SGD formula on runs of other optimizers."""

from __future__ import annotations

from typing import Any

import numpy as np

from fidelity.gaps import METHODS, valuations
from fidelity.runner import Runner
from fidelity.sizes import Size
from fidelity.statistics import Floats, rank_correlation
from fidelity.tables import percent, table
from fidelity.training import Case, metered, opposition, sgd_formula


def compared(case: Case) -> dict[str, Any]:
    """Values of the same steps by enumeration of their games, by each method and by the SGD formula, nats.

    ``[steps, contributors]`` for enumeration, path and formula, ``[contributors]`` for the methods.
    """
    exact, path = metered(case, method="exact"), metered(case)
    return {
        "exact": exact.steps.values[:, :, 0],
        "path": path.steps.values[:, :, 0],
        "formula": sgd_formula(case),
        "methods": {name: valuation.values[:, 0] for name, valuation in valuations(case).items()},
        "gap": float(exact.gap[0] / exact.improvement[0]),
    }


def report(run: Runner, size: Size) -> str:
    """Errors, rank correlations, and what the SGD formula says of the same runs."""
    cases = size.cases(size.game_steps, dict.fromkeys(size.settings, 1))
    run.title = "step games"
    results = run(compared, [(case, {}) for case in cases])
    pulling = run(opposition, [(case, {}) for case in cases])
    errors, shortcut = [], []
    for case, found, apart in zip(cases, results, pulling, strict=True):
        exact, path, formula = (np.array(found[by]) for by in ("exact", "path", "formula"))
        truth = exact.sum(axis=0)
        row = [
            f"{_error(values, truth):.1g} ({rank_correlation(values, truth):.2f})"
            for values in map(np.array, found["methods"].values())
        ]
        errors.append(
            [case.setting, case.update, f"{apart[0]:.1f}, {np.median(apart[1:]):.1f}", percent(found["gap"]), *row]
        )
        first = np.array(found["methods"]["first order"])
        shortcut.append(
            [
                case.setting,
                case.update,
                *(f"{rank_correlation(v, truth):.2f}" for v in (formula.sum(axis=0), first, path.sum(axis=0))),
                *(f"{_by_step(values, exact):.2f}" for values in (formula, path)),
                f"{_error(path[1:].sum(axis=0), exact[1:].sum(axis=0)):.1g}",
            ]
        )
    steps = ", ".join(f"{setting} {count}" for setting, count in size.game_steps.items() if setting in size.settings)
    columns = ["setting", "update"]
    return (
        f"The first steps ({steps}). Opposition: the lengths of contributors' displacements, summed, beside the length "
        "of the step, in the first step and later (median). Then the largest error of a contributor's value relative "
        "to the largest value of enumeration, and in brackets the rank correlation with it:\n\n"
        + table([*columns, "opposition", "gap of enumeration", *METHODS], errors)
        + "\n\nRank correlation with enumeration of the same runs, of the formula for plain SGD and of ours; the same "
        "within a step (mean over steps); and the error of the path without the first step:\n\n"
        + table(
            [
                *columns,
                "SGD formula",
                "first order",
                "path",
                "SGD formula, a step",
                "path, a step",
                "error after the first step, path",
            ],
            shortcut,
        )
    )


def _error(values: Floats, truth: Floats) -> float:
    return float(np.abs(values - truth).max() / np.abs(truth).max())


def _by_step(values: Floats, truth: Floats) -> float:
    return float(np.mean([rank_correlation(a, b) for a, b in zip(values, truth, strict=True)]))
