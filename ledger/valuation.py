"""From a run record to the valuation entry: that it balances *is* the efficiency axiom (DESIGN §5)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlmodel import Session, col, select

from attribution.record import RunRecord
from ledger import journal
from ledger.axioms import Finding, check_axioms
from ledger.errors import (
    AmbiguousRunError,
    AxiomError,
    PartialRunError,
    RunReversedError,
    UnknownRunError,
)
from ledger.models import Run
from ledger.other_valuations import Other, assert_name, book_beside, others
from ledger.record_paths import stored_path
from ledger.valuation_entry import Valuation, lines, parts, payload, read_entry
from ledger.valuing import value_record

KIND = "valuation"


@dataclass(frozen=True)
class Booked:
    """A run in the books."""

    run: Run
    valuation: Valuation
    findings: list[Finding]  # the axioms; empty where the run had been booked before
    repeated: bool
    others: list[Other]  # valuations beside its own that are booked


def book_run(
    session: Session,
    path: str | os.PathLike[str],
    *,
    partial: bool = False,
    identical: Sequence[tuple[str, str]] = (),
) -> Booked:
    """Book the run record in the folder `path` as a valuation entry. The same record again returns the first entry.

    Valuations that the record carries beside its own are booked after it, each by an entry of its own. `identical`
    names contributors who supplied the same rows in every batch, whose values must then be equal. Raises
    `RecordError` for a changed record, `PartialRunError` unless `partial`, `AxiomError`, `ManifestError`,
    `UnknownContributorError`, `ForeignDataError`, `UnknownObjectiveError`, `RunReversedError`, and
    `OtherValuationError` for names of valuations that the books cannot tell apart.
    """
    record = RunRecord.load(path)
    known = session.get(Run, record.identity)
    if known is not None:
        reversal = journal.reversal_of(session, known.entry)
        if reversal is not None:
            raise RunReversedError(known.id, known.entry)
        return Booked(known, valuation_of(session, known), [], repeated=True, others=others(session, known.id))
    if not record.complete and not partial:
        raise PartialRunError(record.identity, record.stopped)
    findings = check_axioms(record, identical=identical)
    for finding in findings:
        if not finding.ok:
            raise AxiomError(record.identity, finding.axiom, finding.detail)
    for name in record.beside:
        assert_name(record, name)
    valuation = value_record(session, record)
    where = stored_path(session, Path(path))
    posted = journal.post(
        session,
        kind=KIND,
        subject=record.identity,
        key=f"{KIND}:{record.identity}",
        payload=payload(valuation, where),
        parts=parts(valuation),
        lines=lines(valuation, valuation.contributors),
    )
    run = Run(
        id=record.identity,
        path=where,
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
    book_beside(session, record)
    return Booked(run, valuation, findings, repeated=False, others=others(session, run.id))


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
