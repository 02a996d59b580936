"""`ghostledger train`: train a language model on the registered data, metered, and book what it was worth."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from attribution.record import RunRecord
from attribution.training.configuration import SIZES, TrainingConfiguration
from attribution.training.sources import Source, TaskSource
from ledger import registry
from ledger.cli.grouping import group_duplicates as join_duplicates
from ledger.cli.grouping import named_players
from ledger.cli.options import DEFAULT_LEDGER, AllowPartial, AsJson, LedgerPlace
from ledger.cli.output import console
from ledger.cli.registered_data import (
    Datasets,
    NoConsentedDataError,
    consented_datasets,
    dataset_source,
    task_sources,
)
from ledger.cli.valued import show_booked
from ledger.database import Ledger
from ledger.errors import LedgerError
from ledger.near_duplicates import RecordIndex, proportion
from ledger.valuation import book_run

EXAMPLE = "Example: ghostledger train --objective news --out runs/monday --epochs 1 --seed 7"
RECORD = "record"  # where the trainer puts it, inside --out

_DEFAULTS = TrainingConfiguration()


class NotBookedError(LedgerError):
    """The run stopped early: its record is kept, but not booked."""

    def __init__(self, path: Path, stopped: str | None) -> None:
        self.path, self.stopped = path, stopped
        super().__init__(
            f"the run is partial ({stopped}): saved, not booked; "
            f"to book it: ghostledger import-run {path} --allow-partial"
        )


def train(
    objective: Annotated[str, typer.Option(help="What to measure on: an objective of the ledger.")],
    out: Annotated[Path, typer.Option(help="A folder for the run record and the model.")],
    contributor: Annotated[
        list[str] | None, typer.Option(help="Train on this contributor's data; repeat for more. All where not given.")
    ] = None,
    group: Annotated[
        list[str] | None, typer.Option(help="Let this group's members play as one; repeat for more groups.")
    ] = None,
    group_duplicates: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Group contributors who each have this share of records in common."),
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
        typer.Option(help="Steps a path covers: 1, more, or run. Repeat to value by others too; the first is its own."),
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
    displacements: Annotated[
        bool,
        typer.Option(
            "--displacements", help="Keep what each contributor did to the parameters: for royalties and unlearning."
        ),
    ] = _DEFAULTS.displacements,
    counterfactual: Annotated[
        bool,
        typer.Option("--counterfactual", help="Value what absence would change too, for a settlement to pay by."),
    ] = _DEFAULTS.counterfactual,
    keep: Annotated[
        Path | None, typer.Option(help="A keep list that curate wrote: what is not kept takes no part.")
    ] = None,
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
        displacements=displacements,
        counterfactual=counterfactual,
    )
    with Ledger.open(ledger) as books:
        with books.reading() as session:
            registry.objective(session, objective)
            tasks = task_sources(books, registry.objective_tasks(session, objective))
        sources = _sources(books, contributor, group or [], group_duplicates)
        record = _trained(sources, tasks, configuration, out, keep)
        if not record.complete and not allow_partial:
            raise NotBookedError(out / RECORD, record.stopped)
        booked = books.transact(lambda session: book_run(session, out / RECORD, partial=allow_partial))
    show_booked(booked, as_json)


def _trained(
    sources: Sequence[Source],
    tasks: Sequence[TaskSource],
    configuration: TrainingConfiguration,
    out: Path,
    keep: Path | None,
) -> RunRecord:
    from attribution.training import train as metered_training  # loads torch, which no other command needs

    return metered_training(sources, tasks, configuration, out, keep=keep, console=console(error=True))


def _sources(books: Ledger, chosen: Sequence[str] | None, named: Sequence[str], share: float | None) -> list[Source]:
    """Every player's consented datasets, as they were registered: of the chosen contributors, or of all."""
    index = None if share is None or not proportion(share) else RecordIndex()
    with books.reading() as session:
        everybody = [row.id for row in registry.contributors(session)]
        asked = named_players(session, chosen or everybody, named)
        rows = consented_datasets(session, books, [name for names in asked.values() for name in names])
    for player, names in asked.items():
        for name in names:
            if name not in rows and (chosen or player in named):
                raise NoConsentedDataError(name)  # a group would pay them all the same
    players = {player: names for player, names in asked.items() if names[0] in rows}
    if not players:
        raise NoConsentedDataError(None)
    parts: dict[str, list[Source]] = {}
    for player, names in players.items():
        for name in names:
            watch = iter if index is None else partial(index.watching, player)
            parts[name] = [dataset_source(books, dataset, watch) for dataset in rows[name]]
    if index is not None and share is not None:
        players = join_duplicates(books, index, share, players)
    return [Datasets.of(player, [part for name in names for part in parts[name]]) for player, names in players.items()]
