"""Curation: which samples to keep, by their scores in one metered run, and what would be dropped (DESIGN §3.4).

A run of the reference trainer is curated by record, a run of another loop by sample, as that loop called them
(`attribution.uses.units`). Needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import rfc8785

from attribution.errors import RecordError
from attribution.folder import file_sha256, write_folder
from attribution.record import RunRecord
from attribution.training.sources import Source
from attribution.uses.curation import Curation, Rule
from attribution.uses.unit_list import KEEP, extremes, write_list
from attribution.uses.units import piles, scored_units, task_weights

REPORT = "report.json"


def curate(
    record: RunRecord,
    run: Path,
    out: Path,
    rule: Rule | None = None,
    *,
    sources: Sequence[Source] = (),
    show: int = 5,
    advance: Callable[[int], None] = lambda rows: None,
) -> Curation:
    """Decide what to keep of a run's data, and write the keep list and a report to the folder `out`.

    `run` is the folder that the trainer wrote. The `show` samples that rank lowest and highest are in the report,
    with the beginning of their text where `sources` hold them. `advance` is told how many more scores were read.
    Memory does not grow with the samples. Raises `MissingFromRunError` where the run has no scores, `UseError` for a
    rule that does not fit it, and `RecordError` for files that cannot be read or written.
    """
    rule = rule or Rule()
    weights = task_weights(record, rule.task)
    if record.scores is not None and out.exists():
        raise RecordError(f"{out}: exists; choose another folder for the keep list")
    with scored_units(record, run, weights, beside=out.parent, standing=rule.standing, advance=advance) as found:
        if rule.share is not None:
            found.totals.drop_share(rule.share)
        else:
            found.totals.drop_below(rule.least)
        written = write_list(record, found)
        worst, best = extremes(record, found, show, sources)
        curation = Curation(
            path=out,
            run=record.identity,
            rule=rule,
            unit=found.unit,
            size_is=found.size_is,
            tasks=record.tasks,
            contributors=piles(record, found.totals),
            worst=worst,
            best=best,
            sha256=file_sha256(written),
        )
        write_folder(out, {REPORT: rfc8785.dumps(curation.json())}, {KEEP: (written, curation.sha256)})
    return curation
