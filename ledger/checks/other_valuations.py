"""Valuations of a run beside its own: each recomputed from the record that it names."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest

from sqlmodel import Session, col, select

from attribution.errors import RecordError
from attribution.record import RunRecord
from ledger import journal
from ledger import other_valuations as others
from ledger.axioms import check_axioms
from ledger.checks.fault import Fault, differences, line_faults, stated, stated_in
from ledger.errors import LedgerError
from ledger.models import Entry, Run
from ledger.other_values import OtherSummary, OtherValues, values_beside, values_elsewhere
from ledger.record_paths import located
from ledger.valuation_entry import lines
from ledger.valuation_names import commodity_of

OTHERS = "other valuations"
OTHER_CLAIMS = {
    OTHERS: "every valuation beside a run's own holds the values recomputed from the record that it names, unchanged"
}


def other_faults(session: Session, run: str, own: int, record: RunRecord) -> Iterator[Fault]:
    """What does not hold of a run's valuations beside its own, which entry `own` booked; `record` is the run's."""
    query = select(Entry).where(Entry.kind == others.KIND, Entry.subject == run).order_by(col(Entry.sequence))
    for entry in session.exec(query).all():
        name = f"run {run}, entry {entry.sequence}"
        try:
            summary = others.read_summary(entry)
        except (ValueError, KeyError, TypeError, AttributeError):
            yield Fault(OTHERS, f"{name}: states no valuation")
            continue
        name = f"{name}, valuation {summary.name!r}"
        if entry.key != others.key_of(run, summary.name) or entry.sequence < own:
            yield Fault(OTHERS, f"{name}: is not the entry that should have booked it")
        try:
            recomputed = _recomputed(session, record, summary, (stated(entry) or {}).get("path"))
        except (RecordError, LedgerError) as error:
            yield Fault(OTHERS, f"{name}: cannot be valued again: {error}")
            continue
        yield from _difference_faults(session, name, entry.sequence, summary, recomputed)
        wanted = lines(recomputed.summary, recomputed.contributors, commodity_of(summary.name))
        yield from line_faults(session, OTHERS, name, entry.sequence, wanted)


def stray_faults(session: Session) -> Iterator[Fault]:
    """Valuations of runs that are not booked."""
    query = select(Entry).where(Entry.kind == others.KIND, col(Entry.subject).not_in(select(Run.id)))
    for entry in session.exec(query):
        yield Fault(OTHERS, f"entry {entry.sequence}: values run {entry.subject}, which is not booked")


def _recomputed(session: Session, record: RunRecord, summary: OtherSummary, path: object) -> OtherValues:
    """The valuation from its record, which is the run's own where the entry names no path."""
    others.assert_name(record, summary.name)
    if path is None:
        if summary.name not in record.beside:
            raise RecordError(f"the run's record carries no valuation {summary.name!r}")
        return values_beside(record, summary.name)
    other = RunRecord.load(located(session, str(path)))
    if other.identity != summary.record:
        raise RecordError(f"{path} holds another record, {other.identity}")
    for finding in check_axioms(other):
        if not finding.ok:
            raise RecordError(f"{finding.axiom}: {finding.detail}")
    return values_elsewhere(session, record, other, summary.name)


def _difference_faults(
    session: Session, name: str, entry: int, summary: OtherSummary, recomputed: OtherValues
) -> Iterator[Fault]:
    """Where what an entry states, of all contributors and of each, is not what the record gives."""
    plain = summary.model_dump(mode="json"), recomputed.summary.model_dump(mode="json")
    for difference in differences(*plain):
        yield Fault(OTHERS, f"{name}: it and the record differ: {difference}")
    for part, right in zip_longest(journal.part_texts(session, entry), recomputed.contributors):
        found = {} if part is None else stated_in(part[1])
        wanted = {} if right is None else right.model_dump(mode="json")
        who = wanted.get("contributor") or (part and part[0])
        for difference in ("its part is no JSON object",) if found is None else differences(found, wanted):
            yield Fault(OTHERS, f"{name}: {who!r}: it and the record differ: {difference}")
