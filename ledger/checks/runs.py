"""Runs: the record as it lies on disk, its axioms, and the valuation recomputed from it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlmodel import Session, col, select

from attribution.errors import RecordError
from attribution.record import RunRecord
from ledger import journal
from ledger import valuation as valuations
from ledger.axioms import check_axioms
from ledger.checks.fault import Fault, differences, line_faults, stated, stated_in
from ledger.checks.other_valuations import OTHER_CLAIMS, other_faults, stray_faults
from ledger.errors import LedgerError, StoredAmountError
from ledger.exact_integer import decode
from ledger.models import Entry, Run
from ledger.record_paths import located
from ledger.valuation_entry import Summary, lines, read_summary
from ledger.valuing import Valued, value_lazily

ROWS, RECORD, AXIOMS, VALUES = "runs", "run records", "axioms", "valuations"
RUN_CLAIMS = {
    ROWS: "every run's row is what its valuation entry says",
    RECORD: "every run's record is on disk, unchanged to the byte",
    AXIOMS: "every record satisfies efficiency, null player, symmetry where checkable, and additivity",
    VALUES: "every valuation entry holds the values recomputed from the record",
    **OTHER_CLAIMS,
}


class _Stored(NamedTuple):
    """A run's row, amounts as they are stored."""

    id: str
    path: str
    began_at: str
    ended_at: str | None
    complete: bool
    objective: str | None
    entry: int
    improvement: Any
    house: Any
    gap: Any


def run_faults(session: Session) -> Iterator[Fault]:
    """What does not hold in the runs."""
    amounts = [sa.type_coerce(col(column), sa.String) for column in (Run.improvement, Run.house, Run.gap)]
    columns: Any = (Run.id, Run.path, Run.began_at, Run.ended_at, Run.complete, Run.objective, Run.entry)
    query: Any = sa.select(*columns, *amounts).order_by(col(Run.entry))
    for columns_found in session.exec(query).all():
        yield from _one(session, _Stored(*columns_found))
    missing = select(Entry).where(Entry.kind == valuations.KIND, col(Entry.sequence).not_in(select(Run.entry)))
    for entry in session.exec(missing):
        yield Fault(ROWS, f"run {entry.subject}: the row that entry {entry.sequence} made is missing")
    yield from stray_faults(session)


def _one(session: Session, row: _Stored) -> Iterator[Fault]:
    name = f"run {row.id}"
    entry = session.get(Entry, row.entry)
    if entry is None or entry.kind != valuations.KIND or entry.subject != row.id:
        yield Fault(ROWS, f"{name}: entry {row.entry} is not its valuation entry")
        return
    said = stated(entry) or {}
    try:
        summary = read_summary(entry)
    except (ValueError, KeyError, TypeError, AttributeError):
        yield Fault(ROWS, f"{name}: entry {row.entry} states no valuation")
        return
    yield from _row_faults(name, row, summary, said)
    path = located(session, row.path)
    try:
        record = RunRecord.load(path)
    except RecordError as error:
        yield Fault(RECORD, f"{name}: {error}")
        return
    if record.identity != row.id:
        yield Fault(RECORD, f"{name}: {path} holds another record, {record.identity}")
        return
    for finding in check_axioms(record):
        if not finding.ok:
            yield Fault(AXIOMS, f"{name}: {finding.axiom}: {finding.detail}")
    try:
        recomputed = value_lazily(session, record)
    except LedgerError as error:
        yield Fault(VALUES, f"{name}: cannot be valued again: {error}")
        return
    yield from _difference_faults(session, name, row.entry, summary, recomputed)
    yield from line_faults(session, VALUES, name, row.entry, lines(recomputed.summary, recomputed.contributors))
    counted = int(record.rows.sum())
    if said.get("rows") != counted:
        yield Fault(ROWS, f"{name}: its entry counts {said.get('rows')} rows, its contributors {counted}")
    yield from other_faults(session, row.id, row.entry, record)


def _difference_faults(
    session: Session, name: str, entry: int, summary: Summary, recomputed: Valued
) -> Iterator[Fault]:
    """Where what an entry states, of all contributors and of each, is not what the record gives."""

    def fault(difference: str) -> Fault:
        return Fault(VALUES, f"{name}: entry {entry} and the record differ: {difference}")

    plain = summary.model_dump(mode="json"), recomputed.summary.model_dump(mode="json")
    yield from map(fault, differences(*plain))
    for part, right in zip_longest(journal.part_texts(session, entry), recomputed.contributors):
        found = {} if part is None else stated_in(part[1])
        wanted = {} if right is None else right.model_dump(mode="json")
        who = wanted.get("contributor") or (part and part[0])
        if found is None:
            yield fault(f"contributor {who!r}: its part is no JSON object")
        else:
            yield from (fault(f"contributors of {who!r}: {inner}") for inner in differences(found, wanted))


def _row_faults(name: str, row: _Stored, valuation: Summary, said: dict[str, Any]) -> Iterator[Fault]:
    for column in ("began_at", "ended_at", "complete", "objective"):
        if getattr(row, column) != getattr(valuation, column):
            yield Fault(ROWS, f"{name}: {column} is {getattr(row, column)!r}, not {getattr(valuation, column)!r}")
    for column in ("improvement", "house", "gap"):
        try:
            amount = decode(getattr(row, column))
        except StoredAmountError as error:
            yield Fault(ROWS, f"{name}: {column}: {error}")
            continue
        if amount != getattr(valuation, column):
            yield Fault(ROWS, f"{name}: {column} is {amount}, not {getattr(valuation, column)}")
    if row.id != valuation.run:
        yield Fault(ROWS, f"{name}: its entry values run {valuation.run}")
    if row.path != said.get("path"):
        yield Fault(ROWS, f"{name}: path is {row.path!r}, not {said.get('path')!r}")
