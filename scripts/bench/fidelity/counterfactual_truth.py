"""What retraining says: of random halves, of leaving one out, of all coalitions, with absentees replaced or struck."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from attribution.retraining import RetrainingValues
from fidelity.absence import RETRAINING_SEEDS, coalitions, halves, losses, masked_losses
from fidelity.appeal import all_coalitions, judged
from fidelity.counterfactual_cases import Amount
from fidelity.runner import Runner
from fidelity.statistics import Floats
from fidelity.training import Case

COURT_SEEDS = 2000  # the first of them: other luck than that of the halves
GAMES = {"replaced": losses, "struck": masked_losses}  # what becomes of absentees' places in the batches


@dataclass(frozen=True, eq=False)
class Truth:
    """What came of one case without some of its contributors."""

    members: Floats  # [halves, contributors]: who is in each random half
    halves: Floats  # [seeds, halves]: minus the loss after training on it
    removals: Floats  # [seeds, contributors]: the loss without each, above that with everybody


@dataclass(frozen=True, eq=False)
class Court:
    """What came of one case with each of all coalitions."""

    shapley: RetrainingValues
    members: Floats  # [halves, contributors]: who is in each of all halves
    halves: Floats  # [halves]: minus the loss after training on it, the mean over seeds

    @property
    def values(self) -> Floats:
        """Shapley values of retraining, nats, ``[contributors]``."""
        return self.shapley.values[:, 0]

    @property
    def improvement(self) -> float:
        """With everybody, nats."""
        return float(self.shapley.improvement[0])

    @property
    def fitted(self) -> Floats:
        """The values, one a contributor, whose sums over halves are nearest to what came of these, least squares."""
        return additive_fit(self.members, self.halves)


def additive_fit(members: Floats, reached: Floats) -> Floats:
    """Values ``[contributors]`` whose sums over `members` ``[n, contributors]`` are nearest to `reached` ``[n]``.

    Halves are all of one size, so that a constant beside them would add nothing.
    """
    values: Floats = np.linalg.lstsq(members, reached, rcond=None)[0]
    return values


def truths(run: Runner, amount: Amount) -> dict[str, dict[Case, Truth]]:
    """By what becomes of absentees' places."""
    found: dict[str, dict[Case, Truth]] = {}
    for game, function in GAMES.items():
        found[game] = {}
        for case in amount.cases():
            count = len(case.materials.contributors)
            asked = coalitions(count, amount.halves[case.setting])
            seeds = range(RETRAINING_SEEDS, RETRAINING_SEEDS + amount.seeds[case.setting])
            run.title = f"{game}, {case.setting}, {case.scenario}, {case.update}"
            after = np.array(run(function, [(replace(case, seed=seed), {"coalitions": asked}) for seed in seeds]))
            found[game][case] = Truth(*halves(asked, after, count), after[:, 1 : count + 1] - after[:, :1])
    return found


def courts(run: Runner, amount: Amount) -> dict[str, dict[Case, Court]]:
    """By what becomes of absentees' places; of the cases of few or well-known contributors alone."""
    found: dict[str, dict[Case, Court]] = {game: {} for game in GAMES}
    for case in amount.cases():
        if case.setting != "digits" or case.optimizer not in amount.court_optimizers:
            continue
        seeds = range(COURT_SEEDS, COURT_SEEDS + amount.court_seeds.get(case.scenario, 0))
        if not len(seeds):
            continue
        names = case.materials.contributors
        everything = all_coalitions(len(names))
        for game, function in GAMES.items():
            run.title = f"all coalitions {game}, {case.scenario}, {case.update}"
            trained = run(function, [(replace(case, seed=seed), {"coalitions": everything}) for seed in seeds])
            members = np.array([[c in coalition for c in range(len(names))] for coalition in everything], dtype=float)
            half = members.sum(axis=1) == len(names) // 2
            mean = -np.array(trained).mean(axis=0)
            found[game][case] = Court(judged(names, everything, trained), members[half], mean[half])
    return found
