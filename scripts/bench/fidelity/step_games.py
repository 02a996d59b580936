"""Every method against enumeration of the step games, and the SGD formula on runs of other optimizers."""

from __future__ import annotations

import numpy as np

from fidelity.gaps import METHODS, valuations
from fidelity.runner import Runner
from fidelity.sizes import Size
from fidelity.statistics import rank_correlation
from fidelity.tables import percent, table
from fidelity.training import Case, metered, sgd_formula


def compared(case: Case) -> dict[str, dict[str, float]]:
    """Error and correlation of each method's values with those of the enumerated games of the same steps."""
    exact = metered(case, method="exact")
    truth, by_step = exact.values[:, 0], exact.steps.values[:, :, 0]
    found = {
        name: {
            "error": float(np.abs(valuation.values[:, 0] - truth).max() / np.abs(truth).max()),
            "rank": rank_correlation(valuation.values[:, 0], truth),
        }
        for name, valuation in valuations(case).items()
    }
    shortcut = sgd_formula(case)
    found["SGD formula"] = {
        "rank": rank_correlation(shortcut.sum(axis=0), truth),
        "step": float(np.mean([rank_correlation(a, b) for a, b in zip(shortcut, by_step, strict=True)])),
    }
    found["exact"] = {"gap": float(exact.gap[0] / exact.improvement[0])}
    return found


def report(run: Runner, size: Size) -> str:
    """Errors, rank correlations, and what the SGD formula says of the same runs."""
    cases = size.cases(size.game_steps, dict.fromkeys(size.settings, 1))
    run.title = "step games"
    results = run(compared, [(case, {}) for case in cases])
    errors, shortcut = [], []
    for case, found in zip(cases, results, strict=True):
        row = [f"{found[m]['error']:.1e} ({found[m]['rank']:.2f})" for m in METHODS]
        errors.append([case.setting, case.update, percent(found["exact"]["gap"]), *row])
        both = found["SGD formula"], found["first order"], found["path"]
        shortcut.append([case.setting, case.update, *(f"{f['rank']:.2f}" for f in both), f"{both[0]['step']:.2f}"])
    steps = ", ".join(f"{setting} {count}" for setting, count in size.game_steps.items() if setting in size.settings)
    return (
        f"The first steps ({steps}). Largest error of a contributor's value relative to the largest value, and in "
        "brackets the rank correlation of the values with those of enumeration:\n\n"
        + table(["setting", "update", "gap of enumeration", *METHODS], errors)
        + "\n\nRank correlation with enumeration of the same runs, of the formula for plain SGD and of ours; the last "
        "column is the formula's within a step, the mean over steps:\n\n"
        + table(["setting", "update", "SGD formula", "first order", "path", "SGD formula, a step"], shortcut)
    )
