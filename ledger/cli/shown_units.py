"""Records and samples with their scores, as lines to read."""

from __future__ import annotations

from attribution.errors import AttributionError
from attribution.record import RunRecord
from attribution.training.sources import Source
from attribution.uses.curation import Sample
from ledger.cli.output import warn
from ledger.cli.run_data import run_sources
from ledger.database import Ledger
from ledger.errors import LedgerError

_SHOWN_CHARACTERS = 160


def sources_to_show(place: str, record: RunRecord) -> list[Source]:
    """The run's data, for the texts; a list is made without them where they are not to be had."""
    if not record.details.get("records"):
        return []
    try:
        with Ledger.open(place) as books:
            return run_sources(books, record)
    except (LedgerError, AttributionError) as error:
        warn(f"texts are not shown: {error}")
        return []


def unit_line(title: str, sample: Sample, size: str, *, kept: str = "kept", dropped: str = "dropped") -> str:
    """A line on one unit: what it is, what it scored, and the beginning of its text."""
    place = f"record {sample.sample} of {sample.dataset[:12]}" if sample.dataset else f"sample {sample.sample}"
    score = f"{sample.score:+.3g} nats"
    if sample.dataset:
        score = f"{sample.density:+.3g} nats a token, {sample.size:,} {size}"
    if sample.standing is not None:
        score += f", {sample.standing:+.2f} standard deviations"
    text = "" if sample.text is None else f": {' '.join(sample.text.split())[:_SHOWN_CHARACTERS]}"
    return f"{title}, {kept if sample.kept else dropped}: {sample.contributor}, {place}, {score}{text}"
