"""What values come to: against Shapley values of retraining, over seeds, in sum, and for each kind of contributor."""

from __future__ import annotations

import numpy as np

from fidelity.appeal import agreement
from fidelity.counterfactual_cases import CURVATURES, METHODS, Told, by_seed
from fidelity.counterfactual_halves import WHERE
from fidelity.counterfactual_truth import Court, Truth
from fidelity.statistics import luck
from fidelity.tables import percent, spread, table
from fidelity.training import Case


def against_shapley(found: Told, courts: dict[str, dict[Case, Court]]) -> str:
    """How much money would have to change hands."""
    texts = {}
    for game, by_case in courts.items():
        rows = []
        for case, court in by_case.items():
            cells = [agreement(by_seed(found[case], m), court.values, court.improvement) for m in METHODS]
            rows.append([case.setting, case.scenario, case.update, f"{court.improvement:.2f}", *cells])
        texts[game] = table([*WHERE, "improvement, nats", *METHODS], rows)
    return (
        "Rank correlation of one run's values with the Shapley values of retraining on all coalitions, mean ± standard "
        "deviation over seeds, and the part of the improvement that would have to change hands. Others take the "
        f"absentees' places:\n\n{texts['replaced']}\n\nTheir rows are struck:\n\n{texts['struck']}"
    )


def over_seeds(found: Told) -> str:
    """Luck beside differences between contributors."""
    rows = []
    for case, told in found.items():
        cells = []
        for method in METHODS:
            values = by_seed(told, method)
            cells.append("" if values is None or len(values) < 2 else "{:.3f} / {:.3f}".format(*luck(values)))
        rows.append([case.setting, case.scenario, case.update, *cells])
    return (
        "A contributor's luck beside the differences between contributors: standard deviation over seeds of one run's "
        "value / standard deviation between contributors, luck taken out, both in nats.\n\n"
        + table([*WHERE, *METHODS], rows)
    )


def sums(found: Told) -> str:
    """What is not attributed, and what no tangent divided."""
    shared = [*CURVATURES]
    rows = []
    for case, told in found.items():
        gaps = []
        for method in METHODS:
            relative = [seed["gap"] / seed["improvement"] for seed in told.get(method, [])]
            gaps.append(percent(max(relative, key=abs)) if relative else "")
        parts = [[seed["shared"] / seed["improvement"] for seed in told.get(m, [])] for m in shared]
        cells = [spread(part) if part else "" for part in parts]
        rows.append([case.setting, case.scenario, case.update, *gaps, *cells])
    return (
        "Gap relative to the improvement, of all seeds the largest; then the part of the improvement that the tangents "
        "do not reach and contributors' progress divides, mean ± standard deviation over seeds.\n\n"
        + table([*WHERE, *METHODS, *(f"by progress, {m}" for m in shared)], rows)
    )


def kinds(found: Told, truth: dict[str, dict[Case, Truth]], courts: dict[str, dict[Case, Court]]) -> str:
    """What each kind of contributor is paid, a table an optimizer."""
    texts = []
    for case, told in found.items():
        if case.scenario != "kinds":
            continue
        by_method = {method: values for method in METHODS if (values := by_seed(told, method)) is not None}
        judged = {f"retraining, {game}": courts[game].get(case) for game in courts}
        named = {name: court for name, court in judged.items() if court is not None}
        rows = [
            [
                name,
                *(spread(values[:, c]) for values in by_method.values()),
                *(f"{court.values[c]:.2f}" for court in named.values()),
                *(spread(truth[game][case].removals[:, c]) for game in truth),
            ]
            for c, name in enumerate(case.materials.contributors)
        ]
        columns = ["contributor", *by_method, *named, *(f"loss without it, more, {game}" for game in truth)]
        improvement = np.mean([seed["improvement"] for seed in told[METHODS[0]]])
        counts = ", ".join(f"{method} {len(values)}" for method, values in by_method.items())
        texts.append(f"{case.update}, improvement {improvement:.2f}; seeds: {counts}:\n\n" + table(columns, rows))
    return (
        "Digits, nats, mean ± standard deviation over seeds. *Its twin* holds the even one's rows again; *half an "
        "even* and *other half* are one even contributor under two names; the *freeloader* repeats eight of the large "
        "one's rows until they are as many as an even part. *Retraining*: Shapley values of all 256 coalitions, others "
        "in the absentees' places or their rows struck.\n\n" + "\n\n".join(texts)
    )
