"""Curation: which samples to keep, by their scores in one metered run, and what would be dropped (DESIGN §3.4).

A run of the reference trainer is curated by record, a run of another loop by sample, as that loop called them
(`attribution.uses.scored`). Needs no torch.
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
from attribution.uses.scored import KEEP, scored_run

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
    if out.exists():
        raise RecordError(f"{out}: exists; choose another folder for the keep list")
    with scored_run(record, run, out.parent, task=rule.task, standing=rule.standing, advance=advance) as scored:
        if rule.share is not None:
            scored.totals.drop_share(rule.share)
        else:
            scored.totals.drop_below(rule.least)
        written = scored.write_list()
        worst, best = scored.extremes(show, sources)
        curation = Curation(
            path=out,
            run=record.identity,
            rule=rule,
            unit=scored.unit,
            size_is=scored.size_is,
            tasks=record.tasks,
            contributors=scored.contributors(),
            worst=worst,
            best=best,
            sha256=file_sha256(written),
        )
        write_folder(out, {REPORT: rfc8785.dumps(curation.json())}, {KEEP: (written, curation.sha256)})
    return curation
