"""What a run's scores are summed over: the records of the reference trainer's run, or the samples of another loop's.

A record's score is that of its tokens, a block's score being spread evenly over the block's tokens. Needs no torch.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from attribution.errors import RecordError
from attribution.folder import file_sha256
from attribution.record import RunRecord
from attribution.scores import read_scores
from attribution.training.record_list import RECORDS, read_record_list
from attribution.training.sources import ReadDataset
from attribution.uses.curation import Contributor, Pile
from attribution.uses.errors import MissingFromRunError, UseError
from attribution.uses.standing import Standings
from attribution.uses.totals import Row, Totals, batch_rows

ROWS = 1 << 13  # in memory at a time, as Python's numbers


@dataclass(frozen=True)
class Units:
    """The records or samples of a run with their scores, in a table in `folder`, which is deleted after use."""

    totals: Totals
    folder: Path
    listed: list[ReadDataset] | None  # the datasets that the run read; None where units are samples
    standing: bool = False  # whether they are ranked by their standings

    @property
    def datasets(self) -> list[str]:
        """The fingerprints to which a unit's dataset number points."""
        return list(dict.fromkeys(found.dataset for found in self.listed or []))

    @property
    def unit(self) -> str:
        """What a unit is."""
        return "sample" if self.listed is None else "record"

    @property
    def size_is(self) -> str:
        """What a unit's size counts."""
        return "samples" if self.listed is None else "tokens"


@contextmanager
def scored_units(
    record: RunRecord,
    run: Path,
    weights: Sequence[float],
    *,
    beside: Path | None = None,
    standing: bool = False,
    advance: Callable[[int], None] = lambda rows: None,
) -> Iterator[Units]:
    """The units of the run in the trainer's folder `run`, each with its scores and their sum by `weights` [tasks].

    They are ranked by score for the size, or by their `standing`: the mean of their tokens' standings in the steps that
    saw them (`attribution.uses.standing`). The table lies in a scratch folder in `beside`, which is made; memory does
    not grow with the samples. `advance` is told how many more scores were read. Raises `MissingFromRunError` where the
    run has no scores or no list of its records, `UseError` where records cannot be told apart, and `RecordError` for
    files that cannot be read.
    """
    if record.scores is None:
        raise MissingFromRunError(run, "scores of samples", "train it with --scores (your own loop: meter.batch)")
    if beside is not None:
        beside.mkdir(parents=True, exist_ok=True)
    stated = record.details.get("records")
    with (
        tempfile.TemporaryDirectory(dir=beside, prefix=".units-") as scratch,
        Totals.on_disk(Path(scratch), len(record.tasks), by_standing=standing) as totals,
    ):
        who = {name: number for number, name in enumerate(record.contributors)}
        standings = Standings.of(record.scores, weights) if standing else None
        for batch in read_scores(record.scores):
            for start in range(0, len(batch), ROWS):
                rows = batch_rows(batch.slice(start, ROWS), who, standings)
                totals.add(rows if stated is None else _by_block(rows))
            advance(len(batch))
        if stated is None:
            found = Units(totals, Path(scratch), None, standing)
            totals.add_units(_sample_units(totals.samples(), weights))
        else:
            found = Units(totals, Path(scratch), _listed(record, run), standing)
            context = int(record.details["configuration"]["context"])
            lines = read_record_list(run / RECORDS)
            totals.add_units(_record_units(lines, totals.samples(), weights, who, found.datasets, context))
        yield found


def task_weights(record: RunRecord, task: str | None) -> list[float]:
    """The run's weights, or those that count one task alone. Raises `UseError` for a task that it does not have."""
    if task is None:
        return [float(weight) for weight in record.weights]
    if task not in record.tasks:
        raise UseError(f"the run has no task {task!r}, only {', '.join(map(repr, record.tasks))}")
    return [float(task == name) for name in record.tasks]


def piles(record: RunRecord, totals: Totals) -> list[Contributor]:
    """What is kept and what is dropped of each contributor's units, as the table was last told."""
    found = {(row[0], bool(row[1])): _pile(row) for row in totals.by_contributor()}
    nothing = Pile(tasks=(0.0,) * len(record.tasks))
    return [
        Contributor(name, found.get((number, True), nothing), found.get((number, False), nothing))
        for number, name in enumerate(record.contributors)
    ]


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
    for who, sample, times, stood, *scores in samples:
        yield who, None, sample, 1, times, _weighted(scores, weights), stood / times, *scores


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
        scored, stood, scores = 0, 0.0, [0.0] * len(weights)
        for block in range(at // context, (at + tokens - 1) // context + 1):
            while current is not None and (current[0], current[1]) < (owner, block):
                current = next(samples, None)
            if current is not None and (current[0], current[1]) == (owner, block):
                inside = min(at + tokens, (block + 1) * context) - max(at, block * context)
                scored += inside * current[2]
                stood += inside * current[3]
                scores = [s + inside / context * t for s, t in zip(scores, current[4:], strict=True)]
        at += tokens
        found = (_weighted(scores, weights), stood / scored, *scores) if scored else (None,) * (2 + len(weights))
        yield owner, numbers[dataset], number, tokens, scored, *found


def _weighted(scores: Sequence[float], weights: Sequence[float]) -> float:
    return sum(score * weight for score, weight in zip(scores, weights, strict=True))


def _pile(row: Row) -> Pile:
    _, _, units, unscored, size, score, helpful, harmful, *tasks = row
    return Pile(units, unscored, size, score, helpful, harmful, tuple(tasks))
