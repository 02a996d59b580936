"""In-run values against the Shapley values of retraining, with few contributors and all their coalitions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from attribution import exact_retraining
from attribution.retraining import RetrainingValues
from fidelity.absence import METHODS, RETRAINING_SEEDS, losses, values
from fidelity.runner import Runner
from fidelity.sizes import BATCH, RATES, Size
from fidelity.statistics import Floats, rank_correlation
from fidelity.tables import spread, table
from fidelity.training import Case, metered

STEP_GAMES = "Shapley of steps"
ENUMERATED = ("digits",)  # where a loss costs little enough to enumerate every step's game


def enumerated(case: Case) -> list[float]:
    """The sums of the Shapley values of all steps' games, nats, ``[contributors]``."""
    return metered(case, method="exact").values[:, 0].tolist()


def all_coalitions(contributors: int) -> list[list[int]]:
    """Contributor c is in those whose index has bit c."""
    return [[c for c in range(contributors) if i >> c & 1] for i in range(1 << contributors)]


def judged(names: list[str], everything: list[list[int]], trained: list[list[float]]) -> RetrainingValues:
    """Shapley values by the losses after training on each of all coalitions, ``[seeds, coalitions]``."""
    known = {
        (tuple(names[c] for c in coalition), seed): loss
        for seed, losses in enumerate(trained)
        for coalition, loss in zip(everything, losses, strict=True)
    }
    return exact_retraining(lambda coalition, seed: known[tuple(coalition), seed], names, seeds=range(len(trained)))


def report(run: Runner, size: Size) -> str:
    """For each setting and optimizer, everybody's values by each method, by retraining, and by leaving one out."""
    run.title = "appeal"
    cases = [
        Case(setting, "few", optimizer, RATES[setting][optimizer][1], size.steps[setting], BATCH[setting])
        for setting in size.settings
        for optimizer in size.optimizers
        if (setting, optimizer) != ("text", "SGD")  # it hardly trains a transformer in so few steps
    ]
    texts, summary, alone = [], [], []
    for case in cases:
        names, seeds = case.materials.contributors, range(size.appeal_seeds[case.setting])
        everything = all_coalitions(len(names))
        trained = run(losses, [(replace(case, seed=RETRAINING_SEEDS + s), {"coalitions": everything}) for s in seeds])
        court = judged(names, everything, trained)
        truth, improvement = court.values[:, 0], float(court.improvement[0])
        everybody = len(everything) - 1
        missed = np.array([[by[everybody ^ 1 << c] - by[everybody] for c in range(len(names))] for by in trained])
        in_run = _in_run(run, case, seeds)
        rows = [
            [
                name,
                *(spread(found[:, c]) for found in in_run.values()),
                f"{truth[c]:.2f} ± {court.seed_spreads[c, 0]:.2f}",
                spread(missed[:, c]),
            ]
            for c, name in enumerate(names)
        ]
        texts.append(
            f"{case.setting}, {case.update}, {court.retrainings} retrainings, nats, mean ± standard deviation over "
            f"{len(seeds)} seeds; everybody together improve by {improvement:.2f}:\n\n"
            + table(["contributor", *in_run, "retraining", "loss without it, more"], rows)
        )
        found = {method: in_run.get(method) for method in (*METHODS, STEP_GAMES)}
        agreed = [agreement(by_seed, truth, improvement) for by_seed in found.values()]
        summary.append([case.setting, case.update, *agreed])
        removal = missed.mean(axis=0)
        cells = [alike(by_seed, removal) for by_seed in found.values()]
        alone.append([case.setting, case.update, f"{rank_correlation(truth, removal):.2f}", *cells])
    return (
        "Rank correlation of one run's values with the Shapley values of retraining on all coalitions (mean ± standard "
        "deviation over seeds), and the part of the improvement that would have to change hands:\n\n"
        + table(["setting", "update", *METHODS, STEP_GAMES], summary)
        + "\n\nRank correlation of both with what leaving one out costs:\n\n"
        + table(["setting", "update", "retraining", *METHODS, STEP_GAMES], alone)
        + "\n\n"
        + "\n\n".join(texts)
    )


def _in_run(run: Runner, case: Case, seeds: range) -> dict[str, Floats]:
    """Values of each seed's run by each method, ``[seeds, contributors]``."""
    jobs = [(replace(case, seed=seed), {}) for seed in seeds]
    by_seed = run(values, jobs)
    found = {method: np.array([seed[method] for seed in by_seed]) for method in METHODS}
    if case.setting in ENUMERATED:
        found[STEP_GAMES] = np.array(run(enumerated, jobs))
    return found


def agreement(by_seed: Floats | None, truth: Floats, improvement: float) -> str:
    if by_seed is None:
        return ""
    moved = np.abs(by_seed - truth).sum(axis=1).mean() / 2 / improvement
    return f"{alike(by_seed, truth)}, off by {moved:.0%}"


def alike(by_seed: Floats | None, truth: Floats) -> str:
    return "" if by_seed is None else spread([rank_correlation(values, truth) for values in by_seed])
