"""Shapley values by retraining on coalitions: the court of appeal for small cases (DESIGN §3.6).

In-run values divide what one run did. Retraining answers another question, what would have been without somebody's
data, and costs a training a coalition.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from attribution.errors import OptionError
from attribution.exact import MOST_PLAYERS, Game, Masks, all_masks, antithetic_orders, check_enumerable, joining_gains
from attribution.manifest import utc
from attribution.record import Floats
from attribution.retraining_losses import LossCache, Progress, Retrainer, RetrainingError, Train
from attribution.retraining_values import RetrainingValues, near_on_average

__all__ = ["RetrainingError", "RetrainingValues", "exact_retraining"]

METHODS = ("auto", "all", "permutations")
LARGEST_SEED = 2**53 - 1  # beyond it canonical JSON has no integers


def exact_retraining(
    train: Train,
    contributors: Sequence[str],
    *,
    method: str = "auto",
    permutations: int = 32,
    truncation: float = 0.0,
    seeds: Sequence[int] = (0, 1, 2),
    workers: int = 1,
    cache: str | os.PathLike[str] | None = None,
    tag: str = "",
    seed: int = 0,
    progress: Progress | None = None,
) -> RetrainingValues:
    """Shapley values of `contributors` by retraining without some of them, `RetrainingValues`.

    Args:
        train: ``train(coalition, seed)`` trains a model on the data of the contributors named in `coalition` (in the
            order of `contributors`) and returns its validation loss in nats, or ``{task: loss}``. With nobody in the
            coalition it returns that of the untrained model. It should depend on its arguments alone: the seed
            decides on initial weights and the order of the data.
        contributors: names of the players.
        method: ``"all"`` trains on every coalition (up to 12 contributors), ``"permutations"`` on the prefixes of
            sampled orders; ``"auto"`` takes the first where it can.
        permutations: how many orders to sample, reverses included: even, at least 4.
        truncation: with permutations, once a prefix is within this part of everybody's utility on every task, the
            rest of the order gets 0 (Ghorbani & Zou, "Data Shapley", ICML 2019). Saves trainings, and what the late
            ones were not given is reported as ``bias``.
        seeds: each coalition is trained once with each; the values' spread over them is reported.
        workers: processes to train in; `train` must then be picklable. Each takes its part of the cores, so sums
            may be rounded otherwise than in one process.
        cache: a file to keep losses in as they come, so that an interrupted evaluation goes on where it was.
        tag: what `train` stands for in the cache: change it with the training or the data.
        seed: of the draw of permutations.
        progress: called with the trainings done and the most that there may be.

    Raises:
        OptionError: for options that make no sense, or a `train` that cannot be sent to worker processes.
        RetrainingError: for a loss that is no finite number, tasks that differ between trainings, a cache that cannot
            be used. What `train` itself raises comes through, with a note of coalition and seed.
    """
    names = _names(contributors)
    if method not in METHODS:
        raise OptionError(f"method {method!r} is not one of {', '.join(METHODS)}")
    if workers < 1:
        raise OptionError(f"workers must be at least 1, not {workers}")
    own_seeds = _seeds(seeds)
    if method == "auto":
        method = "all" if len(names) <= MOST_PLAYERS else "permutations"
    orders = None
    if method == "all":
        check_enumerable(len(names))
        if truncation:
            raise OptionError("truncation goes with method 'permutations', where prefixes grow: not with 'all'")
        most = 1 << len(names)
    else:
        orders = antithetic_orders(len(names), permutations, seed)
        most = min(1 << len(names), 2 + permutations * (len(names) - 1))
    near = near_on_average(truncation)
    masks: list[Masks] = []
    losses: list[Floats] = []
    began = datetime.now(UTC)
    kept = None if cache is None else LossCache(cache, tag)
    report = None if progress is None else lambda done: progress(done, most * len(own_seeds))
    with Retrainer(train, names, own_seeds, workers=workers, cache=kept, progress=report) as retrainer:

        def retrain(wanted: Masks) -> list[Floats]:
            found = retrainer.losses(wanted)
            masks.extend(wanted)
            losses.extend(found)
            return found

        if orders is None:
            retrain(all_masks(len(names)))
        else:
            joining_gains(Game(retrain, len(names)), orders, near)  # asks for what the values will need
    return RetrainingValues(
        contributors=names,
        tasks=retrainer.tasks,
        seeds=own_seeds,
        coalitions=np.array(masks),
        losses=np.array(losses),
        orders=orders,
        truncation=float(truncation),
        tag=tag,
        began_at=utc(began),
        ended_at=utc(datetime.now(UTC)),
    )


def _names(contributors: Sequence[str]) -> list[str]:
    names = [contributors] if isinstance(contributors, str) else list(contributors)
    if not names or not all(isinstance(name, str) and name for name in names) or len(set(names)) != len(names):
        raise OptionError(f"contributors must be at least one name, each once and none empty, not {names}")
    return names


def _seeds(seeds: Sequence[int]) -> list[int]:
    found = [int(seed) for seed in seeds]
    if not found or len(set(found)) != len(found) or not all(0 <= seed <= LARGEST_SEED for seed in found):
        raise OptionError(f"seeds must be at least one, each once, from 0 to 2**53 - 1, not {found}")
    return found
