"""In-run values against the Shapley values of retraining, with few contributors and all their coalitions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from attribution import exact_retraining
from fidelity.absence import METHODS, RETRAINING_SEEDS, losses, values
from fidelity.runner import Runner
from fidelity.sizes import BATCH, RATES, Size
from fidelity.statistics import rank_correlation
from fidelity.tables import spread, table
from fidelity.training import Case


def report(run: Runner, size: Size) -> str:
    """For each setting and optimizer, everybody's values by each method and by retraining."""
    run.title = "appeal"
    cases = [
        Case(setting, "few", optimizer, RATES[setting][optimizer][1], size.steps[setting], BATCH[setting])
        for setting in size.settings
        if setting != "text"
        for optimizer in size.optimizers
    ]
    texts = []
    summary = []
    for case in cases:
        seeds = range(size.seeds[case.setting])
        names = case.materials.contributors
        everything = [[c for c in range(len(names)) if i >> c & 1] for i in range(1 << len(names))]
        trained = run(losses, [(replace(case, seed=RETRAINING_SEEDS + s), {"coalitions": everything}) for s in seeds])
        known = {
            (tuple(names[c] for c in coalition), RETRAINING_SEEDS + s): loss
            for s in seeds
            for coalition, loss in zip(everything, trained[s], strict=True)
        }
        court = exact_retraining(
            lambda coalition, seed, known=known: known[tuple(coalition), seed],
            names,
            seeds=[RETRAINING_SEEDS + s for s in seeds],
        )
        by_seed = run(values, [(replace(case, seed=s), {}) for s in seeds])
        in_run = {method: np.array([seed[method] for seed in by_seed]) for method in METHODS}
        truth, improvement = court.values[:, 0], court.improvement[0]
        rows = [
            [
                name,
                *(spread(in_run[method][:, c]) for method in METHODS),
                f"{truth[c]:.2f} ± {court.seed_spreads[c, 0]:.2f}",
            ]
            for c, name in enumerate(names)
        ]
        texts.append(
            f"{case.setting}, {case.update}, {court.retrainings} retrainings, nats, mean ± standard deviation over "
            f"{len(seeds)} seeds; everybody together improve by {improvement:.2f}:\n\n"
            + table(["contributor", *METHODS, "retraining"], rows)
        )
        correlations = [
            f"{spread([rank_correlation(v, truth) for v in in_run[m]])}, off by "
            f"{np.abs(in_run[m] - truth).sum(axis=1).mean() / 2 / improvement:.0%}"
            for m in METHODS
        ]
        summary.append([case.setting, case.update, *correlations])
    return (
        "Rank correlation of one run's values with the Shapley values of retraining on all coalitions, and the part of "
        "the improvement that would have to change hands:\n\n"
        + table(["setting", "update", *METHODS], summary)
        + "\n\n"
        + "\n\n".join(texts)
    )
