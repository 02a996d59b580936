"""What values say of absence: against retraining without contributors; and how much of a value is luck."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from fidelity.runner import Runner
from fidelity.sizes import BATCH, RATES, Size
from fidelity.statistics import Floats, luck, noise_ceiling, rank_correlation
from fidelity.tables import spread, table
from fidelity.training import Case, by_path, metered, retrained, sgd_formula

PATHS: dict[int | str, str] = {1: "path, step", 10: "path, every 10", "run": "path, run"}
SHORTCUT = "SGD formula"
METHODS = ["first order", *PATHS.values()]
BY_BATCHES = [f"{batches}: {path}" for batches in ("plain", "stratified") for path in ("step", "every 10", "run")]
COLUMNS = ["setting", "contributors differ by", "update", "two sets of seeds", *METHODS, SHORTCUT]
RETRAINING_SEEDS = 1000  # the first of them: other luck than the runs', so that the two share none


def values(case: Case) -> dict[str, list[float]]:
    """The values of one run by each method, nats, ``[contributors]``."""
    first = by_path(metered(case, method="first_order"), {1: METHODS[0]})
    found = first | by_path(metered(case, every=list(PATHS)), PATHS)
    return {name: valuation.values[:, 0].tolist() for name, valuation in found.items()}


def shortcut(case: Case) -> list[float]:
    """The values by the formula for plain SGD, ``[contributors]``."""
    return sgd_formula(case).sum(axis=0).tolist()


def losses(case: Case, coalitions: Sequence[Sequence[int]]) -> list[float]:
    """The losses after retraining on each of the coalitions."""
    return [retrained(case, coalition) for coalition in coalitions]


def masked_losses(case: Case, coalitions: Sequence[Sequence[int]]) -> list[float]:
    """The losses after the same run, all rows but those of each coalition struck from its batches."""
    return [retrained(case, coalition, masked=True) for coalition in coalitions]


def cells(size: Size) -> list[Case]:
    """A case for each scenario and update; the second learning rate, where contributors are mixed both."""
    found = []
    for setting in size.settings:
        for scenario, (optimizer, rate) in product(size.scenarios[setting], size.updates(setting)):
            if (setting, optimizer) == ("text", "SGD"):
                continue  # plain SGD hardly trains a transformer in so few steps
            if rate == RATES[setting][optimizer][1] or (setting, scenario) == ("digits", "mixed"):
                found.append(Case(setting, scenario, optimizer, rate, size.steps[setting], BATCH[setting]))
    return found


def coalitions(contributors: int, many: int) -> list[list[int]]:
    """Everybody; everybody but each in turn; so many random halves."""
    everybody = list(range(contributors))
    draw = np.random.default_rng(0)
    random_halves = [sorted(draw.permutation(contributors)[: contributors // 2].tolist()) for _ in range(many)]
    return [everybody, *([c for c in everybody if c != out] for out in everybody), *random_halves]


def report(run: Runner, size: Size) -> str:
    """Correlations with random halves and with removal, and the spread over seeds."""
    run.title = "absence"
    chosen = cells(size)
    asked = {case: coalitions(len(case.materials.contributors), size.halves[case.setting]) for case in chosen}
    truth = _by_case(run, losses, chosen, size, RETRAINING_SEEDS, lambda case: {"coalitions": asked[case]})
    found: dict[Case, dict[str, Floats]] = {}
    for case, by_seed in _by_case(run, values, chosen, size).items():
        found[case] = {method: np.array([seed[method] for seed in by_seed]) for method in METHODS}
    for case, by_seed in _by_case(run, shortcut, [c for c in chosen if c.optimizer == "AdamW"], size).items():
        found[case][SHORTCUT] = np.array(by_seed)
    stratified = [replace(case, stratified=True) for case in chosen if case.setting == "digits"]
    for case, by_seed in _by_case(run, values, stratified, size).items():
        found[case] = {method: np.array([seed[method] for seed in by_seed]) for method in METHODS}
    rough = [case for case in chosen if case.setting == "digits" and case.rate == RATES["digits"][case.optimizer][1]]
    struck = _by_case(run, masked_losses, rough, size, RETRAINING_SEEDS, lambda case: {"coalitions": asked[case]})
    texts = [
        _much(size),
        _correlations(chosen, asked, truth, found),
        _masked(asked, struck, found),
        _luck(chosen, found),
    ]
    return "\n\n".join(texts)


def _by_case(
    run: Runner,
    function: Callable[..., Any],
    cases: list[Case],
    size: Size,
    first_seed: int = 0,
    options: Callable[[Case], dict[str, Any]] = lambda case: {},
) -> dict[Case, list[Any]]:
    """Results for each case, a list over the seeds."""
    jobs = [
        (replace(case, seed=first_seed + seed), options(case))
        for case in cases
        for seed in range(size.seeds[case.setting])
    ]
    results = iter(run(function, jobs))
    return {case: [next(results) for _ in range(size.seeds[case.setting])] for case in cases}


def _much(size: Size) -> str:
    listed = "; ".join(
        f"{setting} {size.steps[setting]} steps, {size.seeds[setting]} seeds, {size.halves[setting]} halves"
        for setting in size.settings
    )
    return (
        f"{listed}. Retrainings have as many seeds of their own, and as many steps with fewer contributors. Two sets "
        "of seeds: the same correlation between the retrainings of one half of these seeds and of the other: how "
        "well retraining foretells itself."
    )


def _correlations(
    chosen: list[Case],
    asked: dict[Case, list[list[int]]],
    truth: dict[Case, list[Any]],
    found: dict[Case, dict[str, Floats]],
) -> str:
    by_half, alone, batches = [], [], []
    for case in chosen:
        count = len(case.materials.contributors)
        after = np.array(truth[case])
        by_half.append(_row(case, found[case], *halves(asked[case], after, count)))
        alone.append(_row(case, found[case], np.eye(count), after[:, 1 : count + 1] - after[:, :1]))
        other = found.get(replace(case, stratified=True))
        if other is not None:
            both = [(by, method) for by in (found[case], other) for method in PATHS.values()]
            cells = [correlation(by[method], *halves(asked[case], after, count)) for by, method in both]
            batches.append([case.setting, case.scenario, case.update, *cells])
    return (
        "Rank correlation of the sum of a random half's values with minus the loss after retraining on that half: one "
        "run's values, mean ± standard deviation over seeds, and in brackets those of the runs' mean values.\n\n"
        + table(COLUMNS, by_half)
        + "\n\nRank correlation of a contributor's value with the loss after retraining without it, above that with "
        "everybody:\n\n" + table(COLUMNS, alone) + "\n\nBatches drawn at random and batches that hold every "
        "contributor's rows in proportion, each as in the first table:\n\n"
        + table([*COLUMNS[:3], *BY_BATCHES], batches)
    )


def _masked(
    asked: dict[Case, list[list[int]]], struck: dict[Case, list[Any]], found: dict[Case, dict[str, Floats]]
) -> str:
    rows = []
    for case, after in struck.items():
        sums, target = halves(asked[case], np.array(after), len(case.materials.contributors))
        rows.append(_row(case, found[case], sums, target))
    return (
        "As in the first table, but nobody takes the place of those who are absent: the same batches, from which their "
        "rows are struck.\n\n" + table(COLUMNS, rows)
    )


def halves(asked: list[list[int]], after: Floats, count: int) -> tuple[Floats, Floats]:
    """Who is in each random half ``[halves, contributors]``, and minus the losses after it ``[seeds, halves]``."""
    members = np.array([[c in coalition for c in range(count)] for coalition in asked[count + 1 :]], dtype=float)
    return members, -after[:, count + 1 :]


def _row(case: Case, by_method: dict[str, Floats], weights: Floats, target: Floats) -> list[str]:
    cells = [correlation(by_method.get(method), weights, target) for method in (*METHODS, SHORTCUT)]
    return [case.setting, case.scenario, case.update, f"{noise_ceiling(target):.2f}", *cells]


def correlation(by_seed: Floats | None, weights: Floats, target: Floats) -> str:
    """That of the values `by_seed`, summed by `weights`, with the mean over seeds of `target`."""
    if by_seed is None:
        return ""
    one = [rank_correlation(weights @ values, target.mean(0)) for values in by_seed]
    mean = rank_correlation(weights @ by_seed.mean(0), target.mean(0))
    return f"{spread(one)} ({mean:.2f})"


def _luck(chosen: list[Case], found: dict[Case, dict[str, Floats]]) -> str:
    rows = []
    for case in chosen:
        row = [case.setting, case.scenario, case.update]
        for stratified in (False, True):
            by_method = found.get(replace(case, stratified=stratified))
            for method in PATHS.values():
                row.append("" if by_method is None else "{:.3f} / {:.3f}".format(*luck(by_method[method])))
        rows.append(row)
    columns = ["setting", "contributors differ by", "update", *BY_BATCHES]
    return (
        "A contributor's luck beside the differences between contributors: standard deviation over seeds of one run's "
        "value / standard deviation between contributors, luck taken out, both in nats.\n\n" + table(columns, rows)
    )
