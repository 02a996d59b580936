"""Trainings for `exact_retraining` whose values are known; without torch, so that worker processes start quickly."""

from __future__ import annotations

import os

import numpy as np

SHARES = {"ann": 0.5, "bob": 0.25, "cid": 0.125}


def additive(coalition, seed):
    """Every contributor lowers the loss by its share, whoever else is there; a seed shifts all losses."""
    return 3.0 + seed - sum(SHARES[name] for name in coalition)


def interacting(coalition, seed):
    """Two tasks; ann and bob are worth something together, the more the luckier the seed; cid never is."""
    both = {"ann", "bob"} <= set(coalition)
    return {"first": 2.0 - (1.0 + 0.1 * seed) * both, "second": 1.0 - 0.2 * ("ann" in coalition)}


def saturating(coalition, seed):
    return 1.0 - (len(coalition) > 0) - 0.001 * len(coalition)


def pair_game(coalition, seed, *, size):
    """A random game, its worths drawn from the members' names."""
    members = sum(1 << int(name) for name in coalition)
    return float(np.random.default_rng([members, seed]).normal()) if coalition else float(size)


def failing(coalition, seed):
    if len(coalition) == 2:
        raise ValueError("out of data")
    return 1.0


def dying(coalition, seed):
    os._exit(3)
