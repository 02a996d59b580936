"""A valuation that was made later and elsewhere, such as a retraining's, booked for a run that is in the books."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sqlmodel import Session

from attribution.record import RunRecord
from ledger import journal
from ledger import valuation as valuations
from ledger.axioms import check_axioms
from ledger.errors import (
    AxiomError,
    NoValuationError,
    RunReversedError,
    ValuationReversedError,
    ValuationTakenError,
)
from ledger.models import Entry
from ledger.other_valuations import Other, assert_name, book, entry_of, read
from ledger.other_values import values_beside, values_elsewhere
from ledger.record_paths import record_path, stored_path
from ledger.valuation_names import own_name


@dataclass(frozen=True)
class Added:
    """What came of a request to add one."""

    valuation: Other
    repeated: bool  # it was there already


def add(session: Session, run: str, path: str | os.PathLike[str], name: str | None = None) -> Added:
    """Book the values of the record in the folder `path` as a further valuation of a booked run.

    It is called `name`, or else as the record's own valuation is (`own_name`). The record's improvement is its own,
    since retrainings have other seeds. The run's own folder adds what its record carries under `name`. The same
    record under the same name again is the first. Raises `UnknownRunError`, `RunReversedError`, `RecordError`,
    `AxiomError`, what `book_run` does about a manifest, and `OtherValuationError`: for a partial record, for one of
    other contributors, tasks, weights or held-out data, and for a name that is none, taken, or reversed.
    """
    booked = valuations.run(session, run)
    if journal.reversal_of(session, booked.entry) is not None:
        raise RunReversedError(booked.id, booked.entry)
    record = RunRecord.load(path)
    run_record = RunRecord.load(record_path(session, booked))
    name = name or own_name(record.details)
    assert_name(run_record, name)
    earlier = entry_of(session, booked.id, name)
    if earlier is not None:
        return Added(_again(session, booked.id, record, earlier), repeated=True)
    if record.identity == booked.id:
        if name not in record.beside:
            raise NoValuationError(booked.id, name, sorted({own_name(record.details), *record.beside}))
        made = book(session, values_beside(record, name), None)
    else:
        values = values_elsewhere(session, run_record, record, name)
        for finding in check_axioms(record):
            if not finding.ok:
                raise AxiomError(record.identity, finding.axiom, finding.detail)
        made = book(session, values, stored_path(session, Path(path)))
    return Added(read(session, journal.entry(session, made)), repeated=False)


def _again(session: Session, run: str, record: RunRecord, earlier: Entry) -> Other:
    found = read(session, earlier)
    if found.reversed_by is not None:
        raise ValuationReversedError(run, found.name, found.entry)
    if found.summary.record != record.identity:
        raise ValuationTakenError(run, found.name, f"entry {found.entry}, of record {found.summary.record[:12]}")
    return found
