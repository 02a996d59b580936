"""Explaining a prediction: the samples that most raised and most lowered its loss, and what they have in common.

A sample's score for a prediction is what it did, or would do, to the prediction's loss, positive = lowered it: the
product of gradients of `attribution.uses.trace`, by `attribution.uses.tracer.Tracer` for models and losses of your own,
or the score of a metered run of which the prediction was a task. The samples at both ends are the explanation; groups
that are over-represented there (`attribution.uses.hypotheses`) are the hypotheses, and training again without them is
the check (`attribution.uses.counterfactual`). Needs no torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from attribution.errors import RecordError
from attribution.record import RunRecord
from attribution.scores import score_columns, score_totals
from attribution.uses.errors import UseError
from attribution.uses.hypotheses import Hypothesis, hypotheses

EXTREMES = 20  # samples of each end that are tested
SURPRISING = 0.05  # corrected probability from which on a hypothesis is none

ENDS = ("raised", "lowered")


@dataclass(frozen=True)
class Explanation:
    """The numbers of the samples that raised and that lowered the loss most, each from its end on; what they share."""

    raised: list[int]
    lowered: list[int]
    hypotheses: list[Hypothesis]

    @property
    def hypothesis(self) -> Hypothesis | None:
        """Who or what raised the loss: the least probable by chance, None where none is surprising."""
        return next((h for h in self.hypotheses if h.end == ENDS[0] and h.corrected <= SURPRISING), None)


def explain(
    scores: npt.ArrayLike, groupings: Mapping[str, Sequence[Hashable]], *, extremes: int = EXTREMES
) -> Explanation:
    """Explain a prediction by the scores ``[samples]`` of its training samples, positive = lowered its loss.

    `groupings` are names, such as "contributor", "label" or "cluster", each with every sample's group. The `extremes`
    samples of each end are tested, or as many as have a score of that sign. Raises `UseError` for what does not fit.
    """
    found = np.asarray(scores, dtype=np.float64)
    if found.ndim != 1 or not len(found) or not np.isfinite(found).all():
        raise UseError(f"scores are one finite number a sample, not {found.shape}")
    if extremes < 1:
        raise UseError(f"at least one sample of each end is tested, not {extremes}")
    for name, groups in groupings.items():
        if len(groups) != len(found):
            raise UseError(f"grouping {name!r} has {len(groups)} samples, the scores have {len(found)}")
    order = np.argsort(found, kind="stable")
    raised = [int(i) for i in order[:extremes] if found[i] < 0]
    lowered = [int(i) for i in order[::-1][:extremes] if found[i] > 0]
    drawn = {
        end: {name: [groups[i] for i in numbers] for name, groups in groupings.items()}
        for end, numbers in zip(ENDS, (raised, lowered), strict=True)
        if numbers
    }
    return Explanation(raised, lowered, hypotheses(drawn, {name: Counter(g) for name, g in groupings.items()}))


@dataclass(frozen=True)
class TaskExplanation:
    """The explanation of a task's loss by a run's own scores, and the samples, scores and contributors it is of."""

    task: str
    samples: list[int] | list[str]
    contributors: list[str]
    scores: list[float]  # nats over the run
    found: Explanation


def explain_task(record: RunRecord, task: str, *, extremes: int = EXTREMES) -> TaskExplanation:
    """Explain the loss of one of a run's tasks, such as a single prediction, by the scores that the run kept.

    Memory is in proportion to the number of samples. Raises `UseError` for a task that the run has not, and
    `RecordError` for a run without scores.
    """
    if task not in record.tasks:
        raise UseError(f"the run has no task {task!r}, only {', '.join(map(repr, record.tasks))}")
    if record.scores is None:
        raise RecordError("the run has no scores of samples: train it with --scores (your own loop: meter.batch)")
    totals = score_totals(record.scores)
    column = score_columns(record.tasks)[record.tasks.index(task)]
    contributors = totals["contributor"].to_pylist()
    scores = totals[column].to_numpy()
    found = explain(scores, {"contributor": contributors}, extremes=extremes)
    return TaskExplanation(task, totals["sample"].to_pylist(), contributors, scores.tolist(), found)
