"""`ghostledger train`: train a language model on the registered data, metered, and book what it was worth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from sqlmodel import Session

from attribution.record import RunRecord
from attribution.training.configuration import SIZES, TrainingConfiguration
from attribution.training.sources import Source, TaskSource
from ledger import registry
from ledger.cli.options import DEFAULT_LEDGER, AllowPartial, AsJson, LedgerPlace, located_path
from ledger.cli.output import console, warn
from ledger.cli.progress import watched
from ledger.cli.valued import show_booked
from ledger.database import Ledger
from ledger.errors import LedgerError
from ledger.fingerprint import fingerprint_records
from ledger.instants import format_instant
from ledger.models import Dataset, ObjectiveTask
from ledger.valuation import book_run

EXAMPLE = "Example: ghostledger train --objective news --out runs/monday --epochs 1 --seed 7"
RECORD = "record"  # where the trainer puts it, inside --out

_DEFAULTS = TrainingConfiguration()


class NoConsentedDataError(LedgerError):
    """There is nothing to train on that its contributor consents to."""

    def __init__(self, contributor: str | None) -> None:
        self.contributor = contributor
        whose = f"contributor {contributor!r} has" if contributor else "there is"
        super().__init__(f"{whose} no dataset that is consented to now; see `ghostledger dataset list`")


class ChangedDataError(LedgerError):
    """The files are no longer what was registered."""

    def __init__(self, what: str, path: Path, registered: str, found: str) -> None:
        self.what, self.path, self.registered, self.found = what, path, registered, found
        super().__init__(
            f"{path}: changed since {what} was registered: its fingerprint was {registered[:12]}, is {found[:12]}; "
            "restore the files, or register what they hold now"
        )


class NotBookedError(LedgerError):
    """The run stopped early: its record is kept, but not booked."""

    def __init__(self, path: Path, stopped: str | None) -> None:
        self.path, self.stopped = path, stopped
        super().__init__(
            f"the run is partial ({stopped}): saved, not booked; "
            f"to book it: ghostledger import-run {path} --allow-partial"
        )


@dataclass(frozen=True)
class Datasets(Source):
    """One contributor's datasets, each read in its own way."""

    parts: tuple[Source, ...] = ()

    def records(self) -> Iterator[str]:
        """The records of all datasets, in order."""
        for part in self.parts:
            yield from part.records()


def train(
    objective: Annotated[str, typer.Option(help="What to measure on: an objective of the ledger.")],
    out: Annotated[Path, typer.Option(help="A folder for the run record and the model.")],
    contributor: Annotated[
        list[str] | None, typer.Option(help="Train on this contributor's data; repeat for more. All where not given.")
    ] = None,
    size: Annotated[str, typer.Option(help=f"A GPT-2 shape: {', '.join(SIZES)}.")] = _DEFAULTS.size,
    model: Annotated[
        Path | None, typer.Option(help="A local transformers checkpoint to go on from, in place of a size.")
    ] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="A tokenizer.json or its folder; else one is trained on the data.")
    ] = None,
    vocabulary: Annotated[int, typer.Option(help="Tokens of a trained tokenizer.")] = _DEFAULTS.vocabulary,
    context: Annotated[int, typer.Option(help="Tokens a block.")] = _DEFAULTS.context,
    epochs: Annotated[int, typer.Option(help="Passes over the data.")] = _DEFAULTS.epochs,
    max_steps: Annotated[int | None, typer.Option(help="Stop after this many steps.")] = None,
    batch: Annotated[int, typer.Option(help="Blocks a step.")] = _DEFAULTS.batch_rows,
    optimizer: Annotated[str, typer.Option(help="adamw, adam or sgd.")] = _DEFAULTS.optimizer,
    lr: Annotated[float, typer.Option(help="The learning rate at its peak.")] = _DEFAULTS.learning_rate,
    weight_decay: Annotated[float, typer.Option(help="Weight decay; its effect is the house's.")] = (
        _DEFAULTS.weight_decay
    ),
    momentum: Annotated[float, typer.Option(help="Momentum of sgd.")] = _DEFAULTS.momentum,
    validation_rows: Annotated[int, typer.Option(help="Held-out blocks a task.")] = _DEFAULTS.validation_rows,
    seed: Annotated[int, typer.Option(help="The same seed gives the same values.")] = _DEFAULTS.seed,
    threads: Annotated[int | None, typer.Option(help="Processor threads; part of what a seed repeats.")] = None,
    method: Annotated[
        str, typer.Option(help="path, first_order, second_order, or exact: Shapley values by definition, dear.")
    ] = _DEFAULTS.method,
    every: Annotated[
        list[str] | None,
        typer.Option(help="Steps a path covers: 1, more, or run. Repeat to value by others too; the first is booked."),
    ] = None,
    memory: Annotated[
        str,
        typer.Option(help="buffered, or ghost: no buffer a contributor, and a larger gap unless sgd has no momentum."),
    ] = _DEFAULTS.memory,
    tolerance: Annotated[float, typer.Option(help="The relative gap up to which method path refines no path.")] = (
        _DEFAULTS.tolerance
    ),
    scores: Annotated[
        bool, typer.Option("--scores", help="Score each block too, called contributor/record/block: for curation.")
    ] = _DEFAULTS.scores,
    allow_partial: AllowPartial = False,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Train a language model on the contributors' data, meter what each did to the objective, and book it.

    Only data that is consented to now takes part, and only if its files still are what was registered. Ctrl-C stops
    after the step; the partial record is kept, and booked only if --allow-partial is given.
    """
    configuration = TrainingConfiguration.of(
        size=size,
        model=model,
        tokenizer=tokenizer,
        vocabulary=vocabulary,
        context=context,
        epochs=epochs,
        max_steps=max_steps,
        batch_rows=batch,
        optimizer=optimizer,
        learning_rate=lr,
        weight_decay=weight_decay,
        momentum=momentum,
        validation_rows=validation_rows,
        seed=seed,
        threads=threads,
        method=method,
        every=every or _DEFAULTS.every,
        memory=memory,
        tolerance=tolerance,
        scores=scores,
    )
    with Ledger.open(ledger) as books:
        with books.reading() as session:
            registry.objective(session, objective)
            tasks = _tasks(books, registry.objective_tasks(session, objective))
            sources = _sources(session, books, contributor)
        record = _trained(sources, tasks, configuration, out)
        if not record.complete and not allow_partial:
            raise NotBookedError(out / RECORD, record.stopped)
        booked = books.transact(lambda session: book_run(session, out / RECORD, partial=allow_partial))
    show_booked(booked, as_json)


def _trained(
    sources: Sequence[Source], tasks: Sequence[TaskSource], configuration: TrainingConfiguration, out: Path
) -> RunRecord:
    from attribution.training import train as metered_training  # loads torch, which no other command needs

    return metered_training(sources, tasks, configuration, out, console=console(error=True))


def _sources(session: Session, books: Ledger, chosen: Sequence[str] | None) -> list[Source]:
    """The consented datasets of the chosen contributors, or of all, as they were registered."""
    now = format_instant(books.clock())
    names = list(dict.fromkeys(chosen or [])) or [row.id for row in registry.contributors(session)]
    sources: list[Source] = []
    for name in names:
        registry.contributor(session, name)
        parts: list[Source] = []
        for dataset in registry.datasets(session, name):
            if registry.had_consent(session, dataset.fingerprint, now):
                parts.append(_source(books, dataset))
            else:
                warn(f"left out, not consented to: dataset {dataset.fingerprint[:12]} ({dataset.name}) of {name}")
        if parts:
            paths = tuple(path for part in parts for path in part.paths)
            fingerprints = tuple(found for part in parts for found in part.fingerprints)
            sources.append(Datasets(name, paths, fingerprints, parts=tuple(parts)))
        elif chosen:
            raise NoConsentedDataError(name)
    if not sources:
        raise NoConsentedDataError(None)
    return sources


def _source(books: Ledger, dataset: Dataset) -> Source:
    paths = tuple(located_path(path, books) for path in dataset.paths)
    source = Source(dataset.contributor, paths, (dataset.fingerprint,), dataset.text_field, dataset.encoding)
    what = f"dataset {dataset.fingerprint[:12]} of {dataset.contributor!r}"
    _check_unchanged(what, paths, dataset.fingerprint, source.records())
    return source


def _tasks(books: Ledger, rows: Sequence[ObjectiveTask]) -> list[TaskSource]:
    weights = registry.task_weights(rows)
    tasks = []
    for row in rows:
        paths = tuple(located_path(path, books) for path in row.paths)
        task = TaskSource(row.task, paths, float(weights[row.task]), row.fingerprint, row.text_field, row.encoding)
        _check_unchanged(f"task {row.task!r} of objective {row.objective!r}", paths, row.fingerprint, task.records())
        tasks.append(task)
    return tasks


def _check_unchanged(what: str, paths: Sequence[Path], registered: str, read: Iterable[str]) -> None:
    found = fingerprint_records(watched(read, str(paths[0])))
    if found.fingerprint != registered:
        raise ChangedDataError(what, paths[0], registered, found.fingerprint)
