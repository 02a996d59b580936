"""When in a run each contributor's data was worth what: values by part of the run, on each task. Needs no torch.

Wang et al., "Data Shapley in One Training Run" (ICLR 2025), section 5, found that general corpora help early and those
of the task late. Values are in nats of validation loss; positive = lowered the loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from attribution.errors import RecordError
from attribution.record import Floats, RunRecord
from attribution.uses.errors import UseError

EARLY, LATE = 0.1, 0.5  # the first tenth of the steps, and the last half
OBJECTIVE = "objective"  # all tasks by their weights, where there are several


@dataclass(frozen=True)
class Span:
    """Some steps of a run, `first` up to but not including `end`, and what they did: nats, unweighted."""

    first: int
    end: int
    values: Floats  # [contributors, tasks]
    house: Floats  # [tasks]
    gap: Floats  # [tasks]
    improvement: Floats  # [tasks]; values, house and gap sum to it

    @property
    def steps(self) -> int:
        """How many optimizer steps these are."""
        return self.end - self.first

    def shares(self, task: int) -> Floats | None:
        """Each contributor's share of these steps' values on a task, or None where they sum to nothing above 0."""
        column = self.values[:, task]
        return column / column.sum() if column.sum() > 0 else None


@dataclass(frozen=True)
class Timeline:
    """A run in parts: by contributor and task what each part's steps were worth."""

    run: str
    contributors: list[str]
    tasks: list[str]  # more than one: the objective, by the run's weights, comes first
    steps: int
    longest_path: int  # in steps
    parts: list[Span]
    early: Span  # the first tenth of the steps
    late: Span  # the last half
    whole: Span
    moved: list[str]  # what was asked for and stands elsewhere, because it lay inside a path

    def own_share(self, span: Span, contributor: int, task: int) -> float | None:
        """The part of a contributor's whole value that a span holds, or None where the whole is not above 0."""
        whole = float(self.whole.values[contributor, task])
        return float(span.values[contributor, task]) / whole if whole > 0 else None

    def json(self) -> dict[str, Any]:
        """Everything, as JSON: values are lists by contributor, then task."""
        return {
            "run": self.run,
            "contributors": self.contributors,
            "tasks": self.tasks,
            "steps": self.steps,
            "longest_path": self.longest_path,
            "moved": self.moved,
            "parts": [_json(part) for part in self.parts],
            "early": self._json(self.early),
            "late": self._json(self.late),
            "whole": _json(self.whole),
        }

    def _json(self, span: Span) -> dict[str, Any]:
        tasks, who = range(len(self.tasks)), range(len(self.contributors))
        shares = [span.shares(task) for task in tasks]
        of_span = [[None if found is None else float(found[c]) for found in shares] for c in who]
        return {
            **_json(span),
            "share_of_own_value": [[self.own_share(span, c, task) for task in tasks] for c in who],
            "share_of_these_steps": of_span,
        }


def timeline(record: RunRecord, parts: int = 10, task: str | None = None) -> Timeline:
    """Divide a run into `parts` of equally many steps, as nearly as its paths allow, and sum the values of each.

    A path is never cut, since nothing says what happened when inside it: where a part's end, the first tenth's or the
    last half's would lie inside a path, it stands at the nearest end of a path instead, and `Timeline.moved` says so.
    An edit by hand between two steps belongs to the part that begins with it. With `task`, on that task alone.

    Raises `RecordError` for a record without steps, `UseError` for a task or a number of parts that the run has not.
    """
    total = int(record.steps.length.sum())
    if not total:
        raise RecordError("the run has no steps: there is no timeline")
    if parts < 1:
        raise UseError(f"a run has one part or more, not {parts}")
    if task is not None and task not in record.tasks:
        raise UseError(f"the run has no task {task!r}, only {', '.join(map(repr, record.tasks))}")
    ends = np.unique(np.concatenate([[0], np.cumsum(record.steps.length)]))
    moved: list[str] = []
    middle = _nearest(ends, total * LATE, "the beginning of the last half", moved)
    tenth = _nearest(ends, total * EARLY, "the end of the first tenth", moved)
    bounds = [
        0,
        *(_nearest(ends, total * n / parts, f"the end of part {n}", moved) for n in range(1, parts)),
        total,
    ]
    longest = int(record.steps.length.max())
    if not 0 < tenth < total or not 0 < middle < total:
        raise UseError(
            f"the run's {total} steps were valued in paths of up to {longest}, too long to tell early from late: "
            "train longer, or with --every 1 first"
        )
    if any(low >= high for low, high in pairwise(bounds)):
        raise UseError(f"{total} steps in paths of up to {longest} do not make {parts} parts: ask for fewer --parts")
    weights, names = _tasks(record, task)
    spans = [_span(record, weights, low, high, high == total) for low, high in pairwise(bounds)]
    return Timeline(
        run=record.identity,
        contributors=record.contributors,
        tasks=names,
        steps=total,
        longest_path=longest,
        parts=spans,
        early=_span(record, weights, 0, tenth, tenth == total),
        late=_span(record, weights, middle, total, True),
        whole=_span(record, weights, 0, total, True),
        moved=moved,
    )


def _tasks(record: RunRecord, task: str | None) -> tuple[Floats, list[str]]:
    """A matrix ``[tasks, shown]`` that makes what is shown of the run's tasks, and their names."""
    own = np.eye(len(record.tasks))
    if task is not None:
        return own[:, [record.tasks.index(task)]], [task]
    if len(record.tasks) == 1:
        return own, list(record.tasks)
    name = OBJECTIVE
    while name in record.tasks:
        name = f"the {name}"
    return np.hstack([record.weights[:, None], own]), [name, *record.tasks]


def _nearest(ends: np.ndarray, wanted: float, what: str, moved: list[str]) -> int:
    """The path's end nearest to a number of steps; of two as near, the earlier. Whole steps are not worth a word."""
    found = int(ends[np.argmin(np.abs(ends - wanted))])
    if abs(found - wanted) > 0.5:
        moved.append(f"{what} stands at step {found} instead of {wanted:g}, which lies inside a path")
    return found


def _span(record: RunRecord, weights: Floats, first: int, end: int, last: bool) -> Span:
    steps = record.steps
    inside = (steps.first >= first) & ((steps.first < end) | last)
    values = steps.values[inside].sum(axis=0) @ weights
    house, gap = steps.house[inside].sum(axis=0) @ weights, steps.gap[inside].sum(axis=0) @ weights
    improvement = (steps.loss_before - steps.loss_after)[inside].sum(axis=0) @ weights
    return Span(first, end, values, house, gap, improvement)


def _json(span: Span) -> dict[str, Any]:
    return {
        "first_step": span.first,
        "end_step": span.end,
        "values": span.values.tolist(),
        "house": span.house.tolist(),
        "gap": span.gap.tolist(),
        "improvement": span.improvement.tolist(),
    }


def ranking(found: Timeline, task: int) -> Sequence[int]:
    """The contributors by their whole value on a task, greatest first."""
    order: list[int] = np.argsort(-found.whole.values[:, task], kind="stable").tolist()
    return order
