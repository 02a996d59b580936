"""Poison: which samples and contributors worked against the validation set, or against one of its tasks (DESIGN §3.4).

A sample's standing on a task is the mean, over the steps that saw it, of (score − mean) / standard deviation among the
step's scores. How far that lies below the median of all samples, in robust standard deviations, is its suspicion; of
several tasks the one where it stands worst counts. What lies beyond the threshold is flagged. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rfc8785

from attribution.errors import RecordError
from attribution.folder import file_sha256, write_folder
from attribution.record import RunRecord
from attribution.steps import Floats, Integers
from attribution.training.sources import Source
from attribution.uses.curation import Sample
from attribution.uses.errors import UseError
from attribution.uses.suspicion import (
    Course,
    chance_of_as_many,
    courses,
    mirrored_threshold,
    robust_deviations,
    trusted_threshold,
)
from attribution.uses.unit_list import KEEP, extremes, write_list
from attribution.uses.units import scored_units, task_weights

REPORT = "report.json"


@dataclass(frozen=True)
class Suspect:
    """A contributor: how many of their samples are flagged, and how their values went."""

    name: str
    trusted: bool
    samples: int  # that were scored
    flagged: int
    chance: float  # of as many flags or more, were all samples honest and independent; rough where they are alike
    suspicion: float | None  # the median of their samples'
    courses: dict[str, Course]  # by task

    @property
    def opposed(self) -> list[str]:
        """The tasks that they harmed, beyond luck, where they helped another."""
        helped = any(course.helps > 0 for course in self.courses.values())
        return [task for task, course in self.courses.items() if helped and course.helps < 0]

    @property
    def turned(self) -> list[str]:
        """The tasks that they helped in one half of the run and harmed in the other, beyond luck."""
        return [task for task, course in self.courses.items() if course.early_helps * course.late_helps < 0]


@dataclass(frozen=True)
class Poison:
    """What is suspicious in a run; the list of what to keep is in ``path / "keep.parquet"``."""

    path: Path
    run: str
    tasks: list[str]  # on which samples were judged
    false_alarms: float  # the share of honest samples that the threshold lets be flagged, if what it assumes holds
    threshold: float  # robust standard deviations
    assumes: str
    unit: str
    size_is: str
    suspects: list[Suspect]  # the most suspicious first
    worst: list[Sample]  # each with minus its suspicion as its standing
    sha256: str  # of the list

    def json(self) -> dict[str, Any]:
        """The report, as JSON."""
        suspects = [{**asdict(one), "opposed": one.opposed, "turned": one.turned} for one in self.suspects]
        return {**asdict(self), "suspects": suspects, "path": str(self.path), "format": "ghostledger-poison/1"}


@dataclass(frozen=True)
class Suspicions:
    """Of each unit of a run: who supplied it, how suspicious it is (nan: never scored), and the threshold."""

    owner: Integers  # [units]
    suspicion: Floats  # [units], robust standard deviations
    threshold: float
    assumes: str


def poison(
    record: RunRecord,
    run: Path,
    out: Path,
    *,
    tasks: Sequence[str] = (),
    trusted: Sequence[str] = (),
    false_alarms: float = 0.01,
    sources: Sequence[Source] = (),
    show: int = 5,
    advance: Callable[[int], None] = lambda rows: None,
) -> Poison:
    """Rank samples and contributors by suspicion, and write a list without the flagged samples to the folder `out`.

    They are judged on `tasks`, all of the run's where none is named. The threshold is set by the samples of the
    `trusted` contributors, which are never flagged, else by how far samples deviate to the good side. Memory holds
    eight bytes a sample and task. Raises `MissingFromRunError` where the run has no scores, `UseError` for names that
    it does not have, and `RecordError` for files that cannot be read or written.
    """
    if record.scores is not None and out.exists():
        raise RecordError(f"{out}: exists; choose another folder for the list")
    judged = list(tasks) or record.tasks
    found = suspicions(record, run, judged, trusted, false_alarms, advance)
    spared = [record.contributors.index(name) for name in trusted]
    with scored_units(record, run, task_weights(record, None), beside=out.parent, standing=True) as units:
        units.totals.restand(None if np.isnan(one) else -one for one in found.suspicion.tolist())
        units.totals.drop_standing_below(-found.threshold, spared)
        written = write_list(record, units)
        worst, _ = extremes(record, units, show, sources)
        result = Poison(
            path=out,
            run=record.identity,
            tasks=judged,
            false_alarms=false_alarms,
            threshold=found.threshold,
            assumes=found.assumes,
            unit=units.unit,
            size_is=units.size_is,
            suspects=_suspects(record, found, trusted, false_alarms),
            worst=worst,
            sha256=file_sha256(written),
        )
        write_folder(out, {REPORT: rfc8785.dumps(result.json())}, {KEEP: (written, result.sha256)})
    return result


def suspicions(
    record: RunRecord,
    run: Path,
    tasks: Sequence[str],
    trusted: Sequence[str] = (),
    false_alarms: float = 0.01,
    advance: Callable[[int], None] = lambda rows: None,
) -> Suspicions:
    """Each unit's suspicion, in the order of a list of the run's units. Raises as `poison` does."""
    if unknown := [name for name in trusted if name not in record.contributors]:
        raise UseError(f"the run has no contributor {unknown[0]!r}, only {', '.join(map(repr, record.contributors))}")
    if not 0 < false_alarms < 1:
        raise UseError(f"the rate of false alarms lies between 0 and 1, it is not {false_alarms:g}")
    if len(set(tasks)) != len(tasks):
        raise UseError("name each task once")
    columns = []
    for weights in [task_weights(record, task) for task in tasks]:
        with scored_units(record, run, weights, standing=True, advance=advance) as units:
            rows = list(units.totals.standings())
        columns.append(np.array([np.nan if standing is None else standing for _, standing in rows]))
    owner = np.array([who for who, _ in rows], dtype=np.int64)
    deviations = robust_deviations(np.stack(columns, axis=1))
    suspicion: Floats = -deviations.min(axis=1)
    scored = ~np.isnan(suspicion)
    if not scored.any():
        raise UseError("none of the run's samples was scored")
    if trusted:
        known = scored & np.isin(owner, [record.contributors.index(name) for name in trusted])
        threshold = trusted_threshold(suspicion[known], false_alarms)
        assumes = f"honest samples are like those of {', '.join(trusted)}"
    else:
        threshold = mirrored_threshold(deviations[scored], false_alarms)
        assumes = "honest samples deviate as far to the good side as to the bad one"
    return Suspicions(owner, suspicion, threshold, assumes)


def _suspects(record: RunRecord, found: Suspicions, trusted: Sequence[str], false_alarms: float) -> list[Suspect]:
    suspects = []
    for number, (name, by_task) in enumerate(zip(record.contributors, courses(record, false_alarms), strict=True)):
        mine = found.suspicion[(found.owner == number) & ~np.isnan(found.suspicion)]
        flagged = 0 if name in trusted else int((mine > found.threshold).sum())
        suspects.append(
            Suspect(
                name=name,
                trusted=name in trusted,
                samples=len(mine),
                flagged=flagged,
                chance=chance_of_as_many(flagged, len(mine), false_alarms),
                suspicion=float(np.median(mine)) if len(mine) else None,
                courses=dict(zip(record.tasks, by_task, strict=True)),
            )
        )
    return sorted(suspects, key=lambda one: (one.chance, -(one.suspicion or 0.0), one.name))
