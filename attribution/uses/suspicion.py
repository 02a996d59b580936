"""How suspicious scores and values are, by robust statistics; where false alarms begin. Pure; needs no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from attribution.record import RunRecord
from attribution.steps import Floats
from attribution.uses.errors import UseError

_CONSISTENT = 1.4826  # the median absolute deviation times this is a normal distribution's standard deviation


def robust_deviations(standings: Floats) -> Floats:
    """``(x − median) / (1.4826 MAD)`` of each column of ``[units, tasks]``; nan stays nan, and says nothing.

    The location and scale of Hampel, "The Influence Curve and its Role in Robust Estimation" (1974): fewer than half of
    the units, however bad, cannot move them without bound. A column without spread deviates nowhere.
    """
    with np.errstate(all="ignore"):
        centred = standings - np.nanmedian(standings, axis=0)
        scale = _CONSISTENT * np.nanmedian(np.abs(centred), axis=0)
    found: Floats = np.where(np.isnan(standings), np.nan, centred / np.where(scale > 0, scale, np.inf))
    return found


def trusted_threshold(suspicions: Floats, false_alarms: float) -> float:
    """The suspicion above which an honest unit comes with a chance of at most `false_alarms`, judged by trusted ones.

    The split-conformal quantile (Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005): the
    ⌈(n + 1)(1 − α)⌉-th smallest of the n trusted `suspicions`. It holds where honest units are exchangeable with the
    trusted ones. Raises `UseError` where these are too few to tell.
    """
    place = math.ceil((len(suspicions) + 1) * (1 - false_alarms) - 1e-9)
    if place > len(suspicions):
        least = math.ceil(1 / false_alarms - 1 - 1e-9)
        raise UseError(
            f"{len(suspicions)} trusted samples cannot tell a rate of {false_alarms:g}: it takes {least:,} of them"
        )
    return float(np.sort(suspicions)[place - 1])


def mirrored_threshold(deviations: Floats, false_alarms: float) -> float:
    """The same where nobody is trusted: the quantile of what deviates to the good side, ``[units, tasks]``.

    It holds where honest units deviate as far to either side, and the bad ones not to the good one.
    """
    best = deviations.max(axis=1)
    return float(np.quantile(best, 1 - false_alarms, method="higher"))


def chance_of_as_many(flagged: int, units: int, rate: float) -> float:
    """The chance of `flagged` or more among `units`, each being flagged with the chance `rate` by itself."""
    if flagged <= 0:
        return 1.0
    counts = range(flagged, units + 1)
    log, other = math.log(rate), math.log1p(-rate)
    whole = math.lgamma(units + 1)
    terms = [whole - math.lgamma(k + 1) - math.lgamma(units - k + 1) + k * log + (units - k) * other for k in counts]
    return min(1.0, math.fsum(math.exp(term) for term in terms))


@dataclass(frozen=True)
class Course:
    """A contributor's values on one task over time, nats."""

    value: float
    early: float  # in the first half of the run
    late: float
    helps: int  # 1 or −1 where the sign of the value is beyond luck, else 0
    early_helps: int
    late_helps: int


def courses(record: RunRecord, false_alarms: float) -> list[list[Course]]:
    """By contributor and task. A sum's sign is beyond luck where the steps' mean is, by its standard error.

    Steps are taken for independent: a rough test, to say where to look.
    """
    values = record.steps.values
    half = int(np.searchsorted(record.steps.first, int(record.steps.length.sum()) / 2))
    limit = NormalDist().inv_cdf(1 - false_alarms / 2)
    parts = [_sums(part, limit) for part in (values, values[:half], values[half:])]
    (whole, signs), (early, early_signs), (late, late_signs) = parts
    return [
        [
            Course(
                float(whole[c, t]),
                float(early[c, t]),
                float(late[c, t]),
                int(signs[c, t]),
                int(early_signs[c, t]),
                int(late_signs[c, t]),
            )
            for t in range(len(record.tasks))
        ]
        for c in range(len(record.contributors))
    ]


def _sums(values: Floats, limit: float) -> tuple[Floats, npt.NDArray[np.int64]]:
    """The sums over steps ``[contributors, tasks]``, and their signs where they are beyond luck."""
    sums: Floats = values.sum(axis=0)
    if len(values) < 2:
        return sums, np.zeros(sums.shape, dtype=np.int64)
    error = np.sqrt(len(values)) * values.std(axis=0, ddof=1)
    return sums, np.where(np.abs(sums) > limit * error, np.sign(sums), 0).astype(np.int64)
