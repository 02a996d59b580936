"""From a run record to the valuation entry: that it balances *is* the efficiency axiom (DESIGN §5)."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer
from sqlmodel import Session, col, select

from attribution.record import RunRecord
from ledger import journal, registry
from ledger.axioms import Finding, check_axioms
from ledger.errors import (
    AmbiguousRunError,
    AxiomError,
    ForeignDataError,
    InstantError,
    ManifestError,
    PartialRunError,
    RunReversedError,
    UnknownContributorError,
    UnknownObjectiveError,
    UnknownRunError,
)
from ledger.groups import members_of
from ledger.instants import parse_instant
from ledger.lines import Line, credit, debit
from ledger.models import Contributor, Dataset, Entry, Run
from ledger.money import NAT, NAT_EXPONENT
from ledger.policies.terms import Worth

KIND = "valuation"
_WEIGHT_ROUNDING = 1e-9


def _from_text(value: object) -> object:
    return int(value) if isinstance(value, str) else value


# JSON numbers end at 2**53 (RFC 8785 refuses more), so amounts travel as text.
Exact = Annotated[int, BeforeValidator(_from_text), PlainSerializer(str)]


class _Stated(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TaskWorth(_Stated):
    """What the run did to one task, in the task's own 1e-12 nat, unweighted."""

    task: str
    weight: str  # the shortest decimal that is the record's float64
    fingerprint: str | None
    improvement: Exact
    house: Exact
    gap: Exact


class ContributorWorth(_Stated):
    """What one contributor's data was worth, in 1e-12 nat."""

    contributor: str
    rows: int
    datasets: list[str]
    value: Exact  # weighted over tasks: what is paid for
    standard_error: Exact | None = None  # of a sampled value; at most, since tasks' errors may go together
    task_values: list[Exact]  # in the order of the tasks, unweighted


class Valuation(_Stated):
    """The valuation entry's payload: totals weighted over tasks, in integers of 1e-12 nat."""

    run: str
    began_at: str
    ended_at: str | None
    complete: bool
    stopped: str | None
    objective: str | None
    method: str | None
    tasks: list[TaskWorth]
    contributors: list[ContributorWorth]
    improvement: Exact
    house: Exact
    gap: Exact

    @property
    def worth(self) -> Worth:
        """What the settlement's policies need."""
        return Worth({part.contributor: part.value for part in self.contributors}, self.house, self.gap)


@dataclass(frozen=True)
class Booked:
    """A run in the books."""

    run: Run
    valuation: Valuation
    findings: list[Finding]  # the axioms; empty where the run had been booked before
    repeated: bool


def book_run(
    session: Session,
    path: str | os.PathLike[str],
    *,
    partial: bool = False,
    identical: Sequence[tuple[str, str]] = (),
) -> Booked:
    """Book the run record in the folder `path` as a valuation entry. The same record again returns the first entry.

    `identical` names contributors who supplied the same rows in every batch, whose values must then be equal. Raises
    `RecordError` for a changed record, `PartialRunError` unless `partial`, `AxiomError`, `ManifestError`,
    `UnknownContributorError`, `ForeignDataError`, `UnknownObjectiveError`, `RunReversedError`.
    """
    record = RunRecord.load(path)
    known = session.get(Run, record.identity)
    if known is not None:
        reversal = journal.reversal_of(session, known.entry)
        if reversal is not None:
            raise RunReversedError(known.id, known.entry)
        return Booked(known, valuation_of(session, known), [], repeated=True)
    if not record.complete and not partial:
        raise PartialRunError(record.identity, record.stopped)
    findings = check_axioms(record, identical=identical)
    for finding in findings:
        if not finding.ok:
            raise AxiomError(record.identity, finding.axiom, finding.detail)
    valuation = value_record(session, record)
    stored_path = _stored_path(Path(path), session.info.get("folder"))
    posted = journal.post(
        session,
        kind=KIND,
        subject=record.identity,
        key=f"{KIND}:{record.identity}",
        payload=payload(valuation, stored_path),
        parts=parts(valuation),
        lines=lines(valuation),
    )
    run = Run(
        id=record.identity,
        path=stored_path,
        began_at=valuation.began_at,
        ended_at=valuation.ended_at,
        complete=valuation.complete,
        objective=valuation.objective,
        improvement=valuation.improvement,
        house=valuation.house,
        gap=valuation.gap,
        entry=posted.entry.sequence,
    )
    session.add(run)
    session.flush()
    return Booked(run, valuation, findings, repeated=False)


def value_record(session: Session, record: RunRecord) -> Valuation:
    """The record's valuation, checked against the registry. Raises what `book_run` does about its manifest."""
    run, manifest = record.identity, record.details
    missing = [name for name in record.contributors if session.get(Contributor, name) is None]
    if missing:
        raise UnknownContributorError(missing)
    data = _data(session, record)
    fingerprints = _objective_fingerprints(record)
    method = manifest.get("method")
    # math.fsum rounds once, whatever the order or the machine: the same record gives the same integers everywhere.
    improvement = _improvement(record)
    house = [Fraction(math.fsum(record.steps.house[:, k])) for k in range(len(record.tasks))]
    values = [
        [Fraction(math.fsum(record.steps.values[:, c, k])) for k in range(len(record.tasks))]
        for c in range(len(record.contributors))
    ]
    weights = [Fraction(float(weight)) for weight in record.weights]
    errors = None if record.standard_errors is None else [[Fraction(e) for e in row] for row in record.standard_errors]
    contributors = [
        ContributorWorth(
            contributor=name,
            rows=int(record.rows[c]),
            datasets=data.get(name, []),
            value=_piconats(_dot(weights, values[c])),
            standard_error=None if errors is None else _piconats(_dot(weights, errors[c])),
            task_values=[_piconats(value) for value in values[c]],
        )
        for c, name in enumerate(record.contributors)
    ]
    tasks = []
    for k, task in enumerate(record.tasks):
        parts = [part.task_values[k] for part in contributors]
        whole, houses = _piconats(improvement[k]), _piconats(house[k])
        tasks.append(
            TaskWorth(
                task=task,
                weight=repr(float(record.weights[k])),
                fingerprint=fingerprints.get(task),
                improvement=whole,
                house=houses,
                gap=whole - sum(parts) - houses,
            )
        )
    whole, houses = _piconats(_dot(weights, improvement)), _piconats(_dot(weights, house))
    return Valuation(
        run=run,
        began_at=_instant(record, "began_at", required=True) or "",
        ended_at=_instant(record, "ended_at", required=False),
        complete=record.complete,
        stopped=record.stopped,
        objective=_objective(session, record, fingerprints),
        method=str(method["name"]) if isinstance(method, Mapping) and "name" in method else None,
        tasks=tasks,
        contributors=contributors,
        improvement=whole,
        house=houses,
        # The gap takes the rest, rounding included, so that the entry balances exactly.
        gap=whole - sum(part.value for part in contributors) - houses,
    )


def lines(valuation: Valuation) -> list[Line]:
    """The valuation entry's lines: debit the improvement; credit every contributor, the house and the gap."""
    return [
        debit("improvement", NAT, valuation.improvement),
        *(credit(f"value:{part.contributor}", NAT, part.value) for part in valuation.contributors),
        credit("house", NAT, valuation.house),
        credit("gap", NAT, valuation.gap),
    ]


def payload(valuation: Valuation, path: str) -> dict[str, Any]:
    """What the valuation entry says of all contributors together, their rows among it."""
    rows = sum(part.rows for part in valuation.contributors)
    return {**valuation.model_dump(mode="json", exclude={"contributors"}), "rows": rows, "path": path}


def parts(valuation: Valuation) -> list[tuple[str, dict[str, Any]]]:
    """What the valuation entry says of each contributor."""
    return [(part.contributor, part.model_dump(mode="json")) for part in valuation.contributors]


def read_entry(session: Session, entry: Entry) -> Valuation:
    """The valuation that an entry states. Raises `ValueError` where it states none."""
    stated = json.loads(entry.payload)
    del stated["path"], stated["rows"]
    contributors = [json.loads(part.payload) for part in journal.parts_of(session, entry.sequence)]
    return Valuation.model_validate({**stated, "contributors": contributors})


def valuation_of(session: Session, run: Run) -> Valuation:
    """A booked run's valuation."""
    return read_entry(session, journal.entry(session, run.entry))


def run(session: Session, identity: str) -> Run:
    """The booked run with this identity, or with the only one that begins so. Raises `UnknownRunError`."""
    found = list(session.exec(select(Run).where(col(Run.id).startswith(identity, autoescape=True)).limit(5)))
    if len(found) > 1:
        raise AmbiguousRunError(identity, [match.id for match in found])
    if not found or len(identity) < 4:
        raise UnknownRunError(identity)
    return found[0]


def runs(session: Session) -> list[Run]:
    """All booked runs, in the order in which they were booked."""
    return list(session.exec(select(Run).order_by(col(Run.entry))))


def record_path(session: Session, run: Run) -> Path:
    """Where a run's record lies."""
    return located(session, run.path)


def located(session: Session, path: str) -> Path:
    """The folder that a stored path means: a relative one starts at the ledger's own folder."""
    folder = session.info.get("folder")
    return Path(folder) / path if folder else Path(path)


def _stored_path(path: Path, folder: Path | None) -> str:
    full = path.resolve()
    if folder and full.is_relative_to(folder):
        return full.relative_to(folder).as_posix()  # books and records may then be moved together
    return str(full)


def _improvement(record: RunRecord) -> list[Fraction]:
    """The run's improvement of each task: from the first loss to the last, or, unless the record telescopes, summed."""
    before, after = record.steps.loss_before, record.steps.loss_after
    if record.telescopes:
        before, after = before[:1], after[-1:]
    drops = [
        [Fraction(float(b)) - Fraction(float(a)) for b, a in zip(*row, strict=True)]
        for row in zip(before, after, strict=True)
    ]
    return [sum((drop[k] for drop in drops), Fraction(0)) for k in range(len(record.tasks))]


def _dot(weights: Sequence[Fraction], values: Sequence[Fraction]) -> Fraction:
    return sum((weight * value for weight, value in zip(weights, values, strict=True)), Fraction(0))


def _piconats(nats: Fraction) -> int:
    whole: int = round(nats * 10**NAT_EXPONENT)  # half to even
    return whole


def _instant(record: RunRecord, key: str, *, required: bool) -> str | None:
    stated = record.details.get(key)
    if stated is None and not required:
        return None
    if not isinstance(stated, str):
        raise ManifestError(record.identity, key, "is missing: consent is judged at the moment when the run began")
    try:
        return parse_instant(stated)
    except InstantError as error:
        raise ManifestError(record.identity, key, f"holds {stated!r}, which is no date and time with offset") from error


def _data(session: Session, record: RunRecord) -> dict[str, list[str]]:
    stated = record.details.get("data") or {}
    run = record.identity
    if not isinstance(stated, Mapping):
        raise ManifestError(run, "data", "is not a table of fingerprints by contributor")
    named: set[str] = set()
    for contributor, fingerprints in stated.items():
        if contributor not in record.contributors:
            raise ManifestError(run, "data", f"names {contributor!r}, who is not a contributor of the run")
        if not isinstance(fingerprints, list) or not all(isinstance(item, str) for item in fingerprints):
            raise ManifestError(run, "data", f"gives {contributor!r} something other than a list of fingerprints")
        for fingerprint in fingerprints:
            if fingerprint in named:
                raise ManifestError(run, "data", f"names dataset {fingerprint[:12]} twice")
            named.add(fingerprint)
            found = session.exec(select(Dataset).where(Dataset.fingerprint == fingerprint)).first()
            if found is None or found.contributor not in (contributor, *members_of(session, contributor)):
                raise ForeignDataError(run, contributor, fingerprint, found.contributor if found else None)
    return {contributor: list(fingerprints) for contributor, fingerprints in stated.items()}


def _objective_fingerprints(record: RunRecord) -> dict[str, str]:
    stated = record.details.get("objective") or {}
    if not isinstance(stated, Mapping):
        raise ManifestError(record.identity, "objective", "is not a table of fingerprints by task")
    for task, fingerprint in stated.items():
        if task not in record.tasks or not isinstance(fingerprint, str | None):
            raise ManifestError(
                record.identity, "objective", f"gives task {task!r} no fingerprint of a task of the run"
            )
    return {task: fingerprint for task, fingerprint in stated.items() if fingerprint}


def _objective(session: Session, record: RunRecord, fingerprints: Mapping[str, str]) -> str | None:
    """The registered objective with the run's tasks and weights; None where the run states no fingerprints."""
    if not fingerprints:
        return None
    for candidate in sorted(
        registry.objectives(session), key=lambda objective: objective.entry
    ):  # the first made holds
        tasks = registry.objective_tasks(session, candidate.id)
        if {task.task: task.fingerprint for task in tasks} != dict(fingerprints) or len(tasks) != len(record.tasks):
            continue
        weights = registry.task_weights(tasks)
        stated = dict(zip(record.tasks, record.weights, strict=True))
        if all(abs(float(weights[task]) - stated[task]) <= _WEIGHT_ROUNDING for task in weights):
            return candidate.id
    names = "+".join(fingerprints)
    raise UnknownObjectiveError(names, "no registered objective has these tasks, held-out records and weights")
