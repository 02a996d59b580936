"""Several valuations of one run in the books: each beside the run's own has an entry and a commodity of its own.

What a run's record carries (`RunRecord.beside`) is booked with the run; another record's values, such as those of a
retraining, can be added later. A settlement names the one that it pays by (`Terms.by`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from attribution.errors import RecordError
from attribution.record import RunRecord
from ledger import journal
from ledger.errors import OtherValuationError, ValuationNameError, ValuationTakenError
from ledger.models import Commodity, Entry, Run
from ledger.money import NAT_EXPONENT
from ledger.other_values import OtherSummary, OtherValues, OtherWorth, values_beside
from ledger.record_paths import record_path
from ledger.rows import register
from ledger.valuation_entry import lines
from ledger.valuation_names import commodity_of, is_name, own_name

KIND = "other valuation"


@dataclass(frozen=True)
class Other:
    """A valuation of a run beside its own, as its entry says."""

    entry: int
    summary: OtherSummary
    reversed_by: int | None

    @property
    def name(self) -> str:
        """What it is called."""
        return self.summary.name


def book_beside(session: Session, record: RunRecord) -> list[int]:
    """Book every valuation that a run's record carries beside its own; returns their entries. See `assert_name`."""
    return [book(session, values_beside(record, name), None) for name in record.beside]


def assert_name(record: RunRecord, name: str) -> None:
    """Check that another valuation of a run may have this name. Raises `OtherValuationError`."""
    if not is_name(name):
        raise ValuationNameError(record.identity, name)
    if name == own_name(record.details):
        raise ValuationTakenError(record.identity, name, "the run's own valuation")


def key_of(run: str, name: str) -> str:
    """The key of the entry that books a valuation of this name."""
    return f"{KIND}:{run}:{name}"


def book(session: Session, values: OtherValues, path: str | None) -> int:
    """Book another valuation, once; `path` is the stored one of its record, None for the run's own. Its entry."""
    summary = values.summary
    commodity = commodity_of(summary.name)
    if session.get(Commodity, commodity) is None:
        register(session, Commodity(code=commodity, exponent=NAT_EXPONENT, entry=0))
    posted = journal.post(
        session,
        kind=KIND,
        subject=summary.run,
        key=key_of(summary.run, summary.name),
        payload={**summary.model_dump(mode="json"), "path": path},
        parts=((part.contributor, part.model_dump(mode="json")) for part in values.contributors),
        lines=lines(summary, values.contributors, commodity),
    )
    return posted.entry.sequence


# Reading


def others(session: Session, run: str) -> list[Other]:
    """The valuations of a run beside its own that hold, in the order in which they were booked."""
    return [other for other in _all(session, run) if other.reversed_by is None]


def entry_of(session: Session, run: str, name: str) -> Entry | None:
    """The entry that booked a run's valuation of this name beside its own, reversed or not."""
    return journal.by_key(session, key_of(run, name))


def read(session: Session, entry: Entry) -> Other:
    """What an entry says of another valuation. Raises `ValueError` or `KeyError` where it says none."""
    reversal = journal.reversal_of(session, entry.sequence)
    return Other(entry.sequence, read_summary(entry), reversal.sequence if reversal else None)


def read_summary(entry: Entry) -> OtherSummary:
    """What an entry states of its contributors together. Raises `ValueError` or `KeyError` where it states none."""
    stated = json.loads(entry.payload)
    del stated["path"]
    return OtherSummary.model_validate(stated)


def contributors(session: Session, other: Other) -> Iterator[OtherWorth]:
    """What each contributor's data was worth by another valuation."""
    for _, text in journal.part_texts(session, other.entry):
        yield OtherWorth.model_validate_json(text)


def own_name_of(session: Session, run: str) -> str:
    """What a booked run's own valuation is called: as other valuations' entries say, else as its record does.

    Raises `OtherValuationError` where there is neither.
    """
    first = session.exec(_query(run).limit(1)).first()
    if first is not None:
        return read_summary(first).own
    try:
        return own_name(RunRecord.load(record_path(session, session.get_one(Run, run))).details)
    except RecordError as error:
        reason = f"its own valuation has no name while its record cannot be read: {error}"
        raise OtherValuationError(run, reason) from error


def carried(session: Session, run: str) -> list[str]:
    """The names of all valuations of a run that hold, its own first."""
    return [own_name_of(session, run), *(other.name for other in others(session, run))]


def _all(session: Session, run: str) -> list[Other]:
    return [read(session, entry) for entry in session.exec(_query(run))]


def _query(run: str) -> SelectOfScalar[Entry]:
    return select(Entry).where(Entry.kind == KIND, Entry.subject == run).order_by(col(Entry.sequence))
