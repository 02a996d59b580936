"""Curation: which samples to keep, by their scores in one metered run, and what would be dropped (DESIGN §3.4).

A run of the reference trainer is curated by record: a record's score is that of its tokens, a block's score being
spread evenly over the block's tokens. A run of another loop is curated by sample, as that loop called them. Scores are
sums over the run, in nats; positive = lowered the loss. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import rfc8785

from attribution.errors import RecordError
from attribution.folder import file_sha256, write_folder
from attribution.record import RunRecord
from attribution.training.keeping import keep_schema
from attribution.training.sources import ReadDataset, Source
from attribution.uses.curation import Contributor, Curation, Pile, Rule, Sample
from attribution.uses.totals import Row, Totals
from attribution.uses.units import ROWS, Units, scored_units, task_weights

KEEP, REPORT = "keep.parquet", "report.json"
EXCERPT_CHARACTERS = 600


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

    `run` is the folder that the trainer wrote. The `show` samples that score least and most by size are in the report,
    with the beginning of their text where `sources` hold them. `advance` is told how many more scores were read.
    Memory does not grow with the samples. Raises `MissingFromRunError` where the run has no scores, `UseError` for a
    rule that does not fit it, and `RecordError` for files that cannot be read or written.
    """
    rule = rule or Rule()
    weights = task_weights(record, rule.task)
    if record.scores is not None and out.exists():
        raise RecordError(f"{out}: exists; choose another folder for the keep list")
    with scored_units(record, run, weights, beside=out.parent, advance=advance) as found:
        totals, datasets = found.totals, found.datasets
        if rule.share is not None:
            totals.drop_share(rule.share)
        else:
            totals.drop_below(rule.least)
        written = found.folder / KEEP
        _write(written, record, found)
        samples = [_samples(record, datasets, totals.extremes(show, worst=worst)) for worst in (True, False)]
        if found.listed is not None and sources:
            texts = _texts(sources, [sample for ends in samples for sample in ends], found.listed)
            samples = [[_with_text(sample, texts) for sample in ends] for ends in samples]
        curation = Curation(
            path=out,
            run=record.identity,
            rule=rule,
            unit=found.unit,
            size_is=found.size_is,
            tasks=record.tasks,
            contributors=_contributors(record, totals),
            worst=samples[0],
            best=samples[1],
            sha256=file_sha256(written),
        )
        write_folder(out, {REPORT: rfc8785.dumps(curation.json())}, {KEEP: (written, curation.sha256)})
    return curation


def _write(path: Path, record: RunRecord, found: Units) -> None:
    units = found.totals.units()
    first = next(units, None)
    if found.listed is not None:
        schema = keep_schema(record.identity, found.listed)
    else:
        kind = pa.string() if first is not None and isinstance(first[2], str) else pa.int64()
        names = [("contributor", pa.dictionary(pa.int32(), pa.string())), ("sample", kind)]
        schema = pa.schema([*names, ("times", pa.int64()), ("score", pa.float64()), ("keep", pa.bool_())])
    with pq.ParquetWriter(path, schema, compression="zstd") as file:
        chunk = [first, *islice(units, ROWS - 1)] if first is not None else []
        while chunk:
            who, dataset, sample, size, scored, score, keep = zip(*chunk, strict=True)
            columns: list[Any] = [[record.contributors[number] for number in who]]
            if found.listed is not None:
                columns += [[found.datasets[number] for number in dataset], sample, size]
            else:
                columns += [sample]
            columns += [scored, score, [bool(kept) for kept in keep]]
            arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
            file.write_table(pa.table(arrays, schema=schema))
            chunk = list(islice(units, ROWS))


def _contributors(record: RunRecord, totals: Totals) -> list[Contributor]:
    piles = {(row[0], bool(row[1])): _pile(row) for row in totals.by_contributor()}
    nothing = Pile(tasks=(0.0,) * len(record.tasks))
    return [
        Contributor(name, piles.get((number, True), nothing), piles.get((number, False), nothing))
        for number, name in enumerate(record.contributors)
    ]


def _pile(row: Row) -> Pile:
    _, _, units, unscored, size, score, helpful, harmful, *tasks = row
    return Pile(units, unscored, size, score, helpful, harmful, tuple(tasks))


def _samples(record: RunRecord, datasets: Sequence[str], rows: Sequence[Row]) -> list[Sample]:
    return [
        Sample(
            contributor=record.contributors[who],
            dataset=None if dataset is None else datasets[dataset],
            sample=sample,
            size=size,
            score=score,
            density=density,
            kept=bool(keep),
        )
        for who, dataset, sample, size, _, score, keep, density in rows
    ]


def _texts(
    sources: Sequence[Source], wanted: Sequence[Sample], listed: Sequence[ReadDataset]
) -> dict[tuple[str, int], str]:
    """The beginnings of the wanted records, by dataset and number, of datasets that have the order that they had."""
    asked = {(sample.dataset, sample.sample) for sample in wanted}
    sequences = {found.dataset: found.sequence for found in listed}
    texts: dict[tuple[str, int], str] = {}
    for source in sources:
        for dataset in source.datasets():
            if dataset.fingerprint not in {name for name, _ in asked}:
                continue
            read: list[ReadDataset] = []
            found = {
                (record.dataset, record.number): record.text[:EXCERPT_CHARACTERS]
                for record in dataset.numbered(read)
                if (record.dataset, record.number) in asked
            }
            if all(one.sequence == sequences.get(one.dataset) for one in read):
                texts.update(found)
    return texts


def _with_text(sample: Sample, texts: dict[tuple[str, int], str]) -> Sample:
    return replace(sample, text=texts.get((str(sample.dataset), int(sample.sample))))
