"""Units written as a list, each kept or not, and shown with the beginnings of their texts. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from attribution.record import RunRecord
from attribution.training.keeping import keep_schema
from attribution.training.sources import ReadDataset, Source
from attribution.uses.curation import Sample
from attribution.uses.totals import Row
from attribution.uses.units import ROWS, Units

KEEP = "keep.parquet"
EXCERPT_CHARACTERS = 600


def write_list(record: RunRecord, found: Units) -> Path:
    """The list of the units, each kept or not, as a file in their folder: a keep list where they are records."""
    path, units, datasets = found.folder / KEEP, found.totals.units(), found.datasets
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
                columns += [[datasets[number] for number in dataset], sample, size]
            else:
                columns += [sample]
            columns += [scored, score, [bool(kept) for kept in keep]]
            arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
            file.write_table(pa.table(arrays, schema=schema))
            chunk = list(islice(units, ROWS))
    return path


def extremes(
    record: RunRecord, found: Units, show: int, sources: Sequence[Source]
) -> tuple[list[Sample], list[Sample]]:
    """The `show` units that rank lowest and those that rank highest, with the texts of records that `sources` hold."""
    worst, best = (_samples(record, found, found.totals.extremes(show, worst=worst)) for worst in (True, False))
    if found.listed is None or not sources:
        return worst, best
    texts = _texts(sources, [*worst, *best], found.listed)
    return [_with_text(sample, texts) for sample in worst], [_with_text(sample, texts) for sample in best]


def _samples(record: RunRecord, found: Units, rows: Sequence[Row]) -> list[Sample]:
    datasets = found.datasets
    return [
        Sample(
            contributor=record.contributors[who],
            dataset=None if dataset is None else datasets[dataset],
            sample=sample,
            size=size,
            score=score,
            density=density,
            standing=standing if found.standing else None,
            kept=bool(keep),
        )
        for who, dataset, sample, size, _, score, keep, density, standing in rows
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
