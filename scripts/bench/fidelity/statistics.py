"""Correlations, the noise in them, and the KNN-Shapley value."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata, spearmanr

Floats = npt.NDArray[np.float64]


def rank_correlation(one: npt.ArrayLike, other: npt.ArrayLike) -> float:
    """Spearman's; 0 where one of them does not vary."""
    return float(spearmanr(np.asarray(one), np.asarray(other)).statistic) if np.ptp(one) and np.ptp(other) else 0.0


def noise_ceiling(by_seed: Floats) -> float:
    """Rank correlation between the mean of one half of the seeds and that of the other, of figures ``[seeds, n]``.

    The mean over many halvings. Values that reach it know the truth as well as half of the retrainings do.
    """
    seeds = len(by_seed)
    draw, found = np.random.default_rng(0), []
    for _ in range(40):
        order = draw.permutation(seeds)
        one, other = order[: seeds // 2], order[seeds // 2 : 2 * (seeds // 2)]
        found.append(rank_correlation(by_seed[one].mean(0), by_seed[other].mean(0)))
    return float(np.mean(found))


def luck(by_seed: Floats) -> tuple[float, float]:
    """Standard deviation over seeds of a contributor's value, and between contributors' true values, ``[seeds, K]``.

    The second is that of the means, less what luck alone adds to it (a one-way analysis of variance).
    """
    within = by_seed.var(axis=0, ddof=1).mean()
    between = by_seed.mean(axis=0).var(ddof=1) - within / len(by_seed)
    return float(np.sqrt(within)), float(np.sqrt(max(between, 0.0)))


def knn_shapley(features: Floats, labels: Floats, held: Floats, held_labels: Floats, neighbours: int = 5) -> Floats:
    """Shapley values ``[n]`` of training rows in a k-nearest-neighbour classifier, exactly.

    The recursion of Jia et al., "Efficient task-specific data valuation for nearest neighbor algorithms" (VLDB 2019),
    theorem 1: from the farthest row to the nearest, averaged over the held-out rows.
    """
    n, values = len(features), np.zeros(len(features))
    for row, label in zip(held, held_labels, strict=True):
        order = np.argsort(((features - row) ** 2).sum(axis=1), kind="stable")
        match = (labels[order] == label).astype(np.float64)
        ranks = np.arange(1, n)
        gains = (match[:-1] - match[1:]) / neighbours * np.minimum(neighbours, ranks) / ranks
        values[order] += match[-1] / max(n, neighbours) + np.concatenate([np.cumsum(gains[::-1])[::-1], [0.0]])
    return values / len(held)


def area_under_curve(suspicion: Floats, guilty: npt.NDArray[np.bool_]) -> float:
    """The chance that a guilty row is more suspicious than an innocent one, ties counting half."""
    ranks = rankdata(suspicion)
    hits = int(guilty.sum())
    return float((ranks[guilty].sum() - hits * (hits + 1) / 2) / (hits * (len(guilty) - hits)))
