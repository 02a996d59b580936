"""Curation: which samples to keep, by their scores in one metered run, and what would be dropped (DESIGN §3.4).

A run of the reference trainer is curated by record: a record's score is that of its tokens, a block's score being
spread evenly over the block's tokens. A run of another loop is curated by sample, as that loop called them. Scores are
sums over the run, in nats; positive = lowered the loss. Needs no torch.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from attribution.scores import read_scores
from attribution.training.keeping import keep_schema
from attribution.training.record_list import RECORDS, read_record_list
from attribution.training.sources import ReadDataset, Source
from attribution.uses.curation import Contributor, Curation, Pile, Rule, Sample
from attribution.uses.errors import MissingFromRunError, UseError
from attribution.uses.totals import Row, Totals, batch_rows

KEEP, REPORT = "keep.parquet", "report.json"
EXCERPT_CHARACTERS = 600

_ROWS = 1 << 13  # in memory at a time, as Python's numbers


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
    if record.scores is None:
        raise MissingFromRunError(run, "scores of samples", "train it with --scores (your own loop: meter.batch)")
    weights = _weights(record, rule)
    if out.exists():
        raise RecordError(f"{out}: exists; choose another folder for the keep list")
    out.parent.mkdir(parents=True, exist_ok=True)
    stated = record.details.get("records")
    with (
        tempfile.TemporaryDirectory(dir=out.parent, prefix=".curate-") as scratch,
        Totals.on_disk(Path(scratch), len(record.tasks)) as totals,
    ):
        who = {name: number for number, name in enumerate(record.contributors)}
        for batch in read_scores(record.scores):
            for start in range(0, len(batch), _ROWS):
                rows = batch_rows(batch.slice(start, _ROWS), who)
                totals.add(rows if stated is None else _by_block(rows))
            advance(len(batch))
        if stated is None:
            datasets: list[str] = []
            totals.add_units(_sample_units(totals.samples(), weights))
        else:
            listed = _listed(record, run)
            datasets = list(dict.fromkeys(found.dataset for found in listed))
            context = int(record.details["configuration"]["context"])
            lines = read_record_list(run / RECORDS)
            totals.add_units(_record_units(lines, totals.samples(), weights, who, datasets, context))
        if rule.share is not None:
            totals.drop_share(rule.share)
        else:
            totals.drop_below(rule.least)
        written = Path(scratch) / KEEP
        _write(written, record, totals, datasets, None if stated is None else listed)
        samples = [_samples(record, datasets, totals.extremes(show, worst=worst)) for worst in (True, False)]
        if stated is not None and sources:
            texts = _texts(sources, [sample for found in samples for sample in found], listed)
            samples = [[_with_text(sample, texts) for sample in found] for found in samples]
        curation = Curation(
            path=out,
            run=record.identity,
            rule=rule,
            unit="sample" if stated is None else "record",
            size_is="samples" if stated is None else "tokens",
            tasks=record.tasks,
            contributors=_contributors(record, totals),
            worst=samples[0],
            best=samples[1],
            sha256=file_sha256(written),
        )
        write_folder(out, {REPORT: rfc8785.dumps(curation.json())}, {KEEP: (written, curation.sha256)})
    return curation


def _weights(record: RunRecord, rule: Rule) -> list[float]:
    if rule.task is None:
        return [float(weight) for weight in record.weights]
    if rule.task not in record.tasks:
        raise UseError(f"the run has no task {rule.task!r}, only {', '.join(map(repr, record.tasks))}")
    return [float(task == rule.task) for task in record.tasks]


def _listed(record: RunRecord, run: Path) -> list[ReadDataset]:
    stated, path = record.details["records"], run / RECORDS
    if not path.is_file():
        raise MissingFromRunError(run, f"list of its records ({RECORDS})", "give the folder that the trainer wrote")
    if file_sha256(path) != stated["sha256"]:
        raise RecordError(f"{path}: changed since it was written: its SHA-256 is not the manifest's")
    listed = [ReadDataset(**found) for found in stated["datasets"]]
    names = [found.dataset for found in listed]
    twice = next((found for found in listed if not found.dataset or names.count(found.dataset) > 1), None)
    if twice is not None:
        raise UseError(
            f"dataset {twice.dataset[:12]!r} of {twice.contributor!r} has no fingerprint of its own: "
            "a keep list finds records by their dataset's"
        )
    return listed


def _by_block(rows: Iterable[Row]) -> Iterator[Row]:
    """The trainer's samples, called contributor/record/block, by block."""
    return ((who, int(sample.rsplit("/", 1)[1]), *rest) for who, sample, *rest in rows)


def _sample_units(samples: Iterable[Row], weights: Sequence[float]) -> Iterator[Row]:
    for who, sample, times, *scores in samples:
        yield who, None, sample, 1, times, _weighted(scores, weights), *scores


def _record_units(
    lines: Iterable[tuple[str, str, int, int]],
    samples: Iterator[Row],
    weights: Sequence[float],
    who: dict[str, int],
    datasets: Sequence[str],
    context: int,
) -> Iterator[Row]:
    """Each record with the scores of its tokens. `lines` and `samples` are both in the order of contributors' text."""
    numbers = {name: number for number, name in enumerate(datasets)}
    current: Row | None = next(samples, None)
    owner, at = -1, 0
    for name, dataset, number, tokens in lines:
        if name not in who:
            continue  # too little of it was kept to take part
        if who[name] != owner:
            owner, at = who[name], 0
        scored, scores = 0, [0.0] * len(weights)
        for block in range(at // context, (at + tokens - 1) // context + 1):
            while current is not None and (current[0], current[1]) < (owner, block):
                current = next(samples, None)
            if current is not None and (current[0], current[1]) == (owner, block):
                inside = min(at + tokens, (block + 1) * context) - max(at, block * context)
                scored += inside * current[2]
                scores = [s + inside / context * t for s, t in zip(scores, current[3:], strict=True)]
        at += tokens
        found = (_weighted(scores, weights), *scores) if scored else (None,) * (1 + len(weights))
        yield owner, numbers[dataset], number, tokens, scored, *found


def _weighted(scores: Sequence[float], weights: Sequence[float]) -> float:
    return sum(score * weight for score, weight in zip(scores, weights, strict=True))


def _write(
    path: Path, record: RunRecord, totals: Totals, datasets: list[str], listed: list[ReadDataset] | None
) -> None:
    units = totals.units()
    first = next(units, None)
    if listed is not None:
        schema = keep_schema(record.identity, listed)
    else:
        kind = pa.string() if first is not None and isinstance(first[2], str) else pa.int64()
        names = [("contributor", pa.dictionary(pa.int32(), pa.string())), ("sample", kind)]
        schema = pa.schema([*names, ("times", pa.int64()), ("score", pa.float64()), ("keep", pa.bool_())])
    with pq.ParquetWriter(path, schema, compression="zstd") as file:
        chunk = [first, *islice(units, _ROWS - 1)] if first is not None else []
        while chunk:
            who, dataset, sample, size, scored, score, keep = zip(*chunk, strict=True)
            columns: list[Any] = [[record.contributors[number] for number in who]]
            if listed is not None:
                columns += [[datasets[number] for number in dataset], sample, size]
            else:
                columns += [sample]
            columns += [scored, score, [bool(kept) for kept in keep]]
            arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
            file.write_table(pa.table(arrays, schema=schema))
            chunk = list(islice(units, _ROWS))


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
