"""Do values foretell what training without somebody reaches? And could any that are summed?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fidelity.absence import correlation
from fidelity.counterfactual_cases import METHODS, Told, by_seed
from fidelity.counterfactual_truth import Court, Truth, additive_fit
from fidelity.statistics import Floats, noise_ceiling, rank_correlation
from fidelity.tables import table
from fidelity.training import Case

WHERE = ["setting", "contributors differ by", "update"]
CLEARLY = 2.0  # standard errors from nothing


def random_halves(found: Told, truth: dict[str, dict[Case, Truth]], courts: dict[str, dict[Case, Court]]) -> str:
    """Sums of values against random halves, and the ceilings."""
    columns = [*WHERE, "two sets of seeds", *METHODS]
    rows = {game: _rows(found, by_case, lambda t: t.members, lambda t: t.halves) for game, by_case in truth.items()}
    ceilings = []
    for case in truth["replaced"]:
        row = [case.setting, case.scenario, case.update]
        for game, by_case in truth.items():
            row += _ceilings(by_case[case], courts[game].get(case))
        ceilings.append(row)
    of = ["two sets of seeds", "fit to these halves", "fit to all halves", "Shapley values"]
    return (
        "Rank correlation of the sum of a random half's values with minus the loss after retraining on that half: one "
        "run's values, mean ± standard deviation over seeds, and in brackets those of the runs' mean values. *Two sets "
        "of seeds*: retrainings of one half of the seeds against those of the other. Others take the absentees' "
        "places in the batches:\n\n"
        + table(columns, rows["replaced"])
        + "\n\nThe same batches, from which the absentees' rows are struck, the game that counterfactual values "
        "divide:\n\n"
        + table(columns, rows["struck"])
        + "\n\n**The ceiling of values that are summed.** The same correlation of values that nobody can have without "
        "retraining on everything: of those that least squares fit to these very halves (as many unknowns as "
        "contributors: somewhat too high), of those fitted to all halves of other seeds, and of the Shapley values of "
        "retraining on all coalitions, of other seeds too. First with others in the absentees' places, then struck:\n\n"
        + table([*WHERE, *of, *(f"{name}, struck" for name in of)], ceilings)
    )


def leaving_one_out(found: Told, truth: dict[str, dict[Case, Truth]]) -> str:
    """Values against what leaving one out costs: order and signs."""
    columns = [*WHERE, "two sets of seeds", *METHODS]
    alone = {
        game: _rows(found, by_case, lambda t: np.eye(t.members.shape[1]), lambda t: t.removals)
        for game, by_case in truth.items()
    }
    wrong = {game: [_signs(case, found[case], by_case[case]) for case in by_case] for game, by_case in truth.items()}
    sign_columns = [*WHERE, "missed, harmful", *METHODS]
    return (
        "Rank correlation of a contributor's value with the loss after training without it, above that with "
        "everybody. Others take its place:\n\n"
        + table(columns, alone["replaced"])
        + "\n\nIts rows are struck:\n\n"
        + table(columns, alone["struck"])
        + "\n\nSign errors. Contributors count whose effect is beyond twice its standard error over seeds: so many "
        "whom the others would miss, so many without whom the loss is lower. Then, of all runs, how many values of "
        "the first are negative + how many of the second positive, out of how many. Others take the place:\n\n"
        + table(sign_columns, wrong["replaced"])
        + "\n\nRows are struck:\n\n"
        + table(sign_columns, wrong["struck"])
    )


def _rows(
    found: Told,
    by_case: dict[Case, Truth],
    weights: Callable[[Truth], Floats],
    target: Callable[[Truth], Floats],
) -> list[list[str]]:
    rows = []
    for case, truth in by_case.items():
        mine = [correlation(by_seed(found[case], method), weights(truth), target(truth)) for method in METHODS]
        rows.append([case.setting, case.scenario, case.update, f"{noise_ceiling(target(truth)):.2f}", *mine])
    return rows


def _ceilings(truth: Truth, court: Court | None) -> list[str]:
    reached = truth.halves.mean(axis=0)
    candidates = [additive_fit(truth.members, reached)]
    candidates += [] if court is None else [court.fitted, court.values]
    cells = [f"{rank_correlation(truth.members @ values, reached):.2f}" for values in candidates]
    return [f"{noise_ceiling(truth.halves):.2f}", *cells, *[""] * (3 - len(cells))]


def clear_effects(removals: Floats) -> tuple[np.ndarray, np.ndarray]:
    """Who would be missed, and who harms, beyond doubt, ``[contributors]``; of effects ``[seeds, contributors]``."""
    effect = removals.mean(axis=0)
    doubt = CLEARLY * removals.std(axis=0, ddof=1) / np.sqrt(len(removals))
    return effect > doubt, effect < -doubt


def _signs(case: Case, told: dict[str, list[dict[str, object]]], truth: Truth) -> list[str]:
    missed, harmful = clear_effects(truth.removals)
    cells = []
    for method in METHODS:
        values = by_seed(told, method)
        if values is None:
            cells.append("")
            continue
        below, above = int((values[:, missed] < 0).sum()), int((values[:, harmful] > 0).sum())
        cells.append(f"{below} + {above} of {len(values) * int(missed.sum() + harmful.sum())}")
    return [case.setting, case.scenario, case.update, f"{missed.sum()}, {harmful.sum()}", *cells]
