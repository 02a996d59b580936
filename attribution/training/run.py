"""One training run from datasets on disk to a saved record and a saved model."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from transformers import PreTrainedTokenizerFast

from attribution.displacements import FILE as DISPLACEMENTS
from attribution.folder import file_sha256
from attribution.meter import InRunShapley
from attribution.record import SCORES, RunRecord
from attribution.training.configuration import TrainingConfiguration
from attribution.training.corpus import Blocks, Corpus, LeakageWatch, objective, pack
from attribution.training.deterministic import deterministic
from attribution.training.errors import ConfigurationError, NothingKeptError, TooLittleTextError
from attribution.training.keeping import KeepList
from attribution.training.loop import build_optimizer, run_steps
from attribution.training.model import build_model, no_bars
from attribution.training.progress import progress_on
from attribution.training.record_list import RECORDS, RecordListWriter
from attribution.training.sources import Source, TaskSource
from attribution.training.tokenizer import load_tokenizer, train_tokenizer

RECORD, MODEL = "record", "model"


def train(
    sources: Sequence[Source],
    tasks: Sequence[TaskSource],
    configuration: TrainingConfiguration,
    out: Path,
    *,
    keep: Path | None = None,
    console: Console | None = None,
) -> RunRecord:
    """Train a language model on everybody's data and measure what each contributor's did to the objective.

    Writes the run record to ``out/record`` and the model with its tokenizer to ``out/model``. The same seed and
    number of threads give the same record. Where blocks are scored, each is called ``contributor/record/block``: the
    record that it begins in, and its own number, among the contributor's; ``out/records.parquet`` then lists the
    records (`attribution.training.record_list`). Where displacements are kept, ``out/displacements.safetensors`` holds
    what each contributor did to the parameters, if the run is complete. With `keep`, a keep list, the records that are
    not kept are left out, and so are contributors with less than a block kept; the record names the list by its hash.
    Task weights are made to sum to 1. After a Ctrl-C, or a loss that is not finite, the record is partial (``complete``
    is False, ``stopped`` says why) and is saved just the same.

    Raises `AttributionError` (of `attribution.training.errors`) for input that cannot be used, with nothing written.
    """
    _check_names(sources, tasks, out)
    made = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".tokens-", dir=out) as scratch, deterministic(configuration):
            kept = None if keep is None else KeepList.load(keep)
            return _train(sources, tasks, configuration, out, Path(scratch), console, kept)
    finally:
        if made and not any(out.iterdir()):
            out.rmdir()


def _check_names(sources: Sequence[Source], tasks: Sequence[TaskSource], out: Path) -> None:
    for kind, names in (("contributor", [s.contributor for s in sources]), ("task", [t.name for t in tasks])):
        if not names:
            raise ConfigurationError(f"training needs at least one {kind}")
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ConfigurationError(f"{kind} {min(twice)!r} is given twice: put all its paths into one")
    if any(not task.weight > 0 for task in tasks):
        raise ConfigurationError("every task needs a weight above zero")
    if out.exists() and not out.is_dir():
        raise ConfigurationError(f"{out}: is not a folder")
    for name in (RECORD, MODEL, RECORDS, DISPLACEMENTS):
        if (out / name).exists():
            raise ConfigurationError(f"{out / name}: exists already: choose another folder for this run")


def _train(
    sources: Sequence[Source],
    tasks: Sequence[TaskSource],
    configuration: TrainingConfiguration,
    out: Path,
    scratch: Path,
    console: Console | None,
    keep: KeepList | None,
) -> RunRecord:
    if keep is not None:
        sources = [keep.of(source) for source in sources]
    tokenizer = _tokenizer(sources, configuration)
    context, rows = configuration.context, configuration.batch_rows
    watch = LeakageWatch(tasks)
    held_out = [
        pack("task", task.name, task.records(), tokenizer, context, scratch / f"task-{number}")
        for number, task in enumerate(tasks)
    ]
    supplied: list[Blocks] = []
    listed: dict[str, Any] = {}
    with RecordListWriter(scratch / RECORDS) as lines:
        for number, source in enumerate(sources):
            texts, file = watch.watch(source, lines.passing(source)), scratch / f"data-{number}"
            try:
                packed = pack("contributor", source.contributor, texts, tokenizer, context, file, counted=lines.counted)
            except TooLittleTextError:
                if keep is None:
                    raise
                continue
            supplied.append(packed)
        if configuration.scores:
            listed = {"records": {"sha256": lines.close(), "datasets": [asdict(found) for found in lines.datasets]}}
    sources, left_out = _those_of(sources, supplied)
    if keep is not None:
        if not supplied:
            raise NothingKeptError(keep.path)
        kept = {source.contributor: keep.count(source) for source in sources}
        listed["keep"] = {"sha256": keep.sha256, "run": keep.run, "records": kept, "left_out": left_out}
    if configuration.overlap == "refuse":
        watch.refuse()
    corpus = Corpus(supplied)
    steps = min(corpus.steps(rows, configuration.epochs), configuration.max_steps or 2**63)

    model = build_model(configuration, tokenizer)
    optimizer = build_optimizer(model, configuration)
    total = sum(task.weight for task in tasks)
    weights = [task.weight / total for task in tasks]
    contributors = [source.contributor for source in sources]
    meter = InRunShapley(
        model,
        optimizer,
        {blocks.name: objective(blocks, configuration.validation_rows, rows) for blocks in held_out},
        contributors,
        method=configuration.method,
        every=configuration.every,
        memory=configuration.memory,
        tolerance=configuration.tolerance,
        seed=configuration.seed,
        scores=scratch / SCORES,
        task_weights={task.name: weight for task, weight in zip(tasks, weights, strict=True)},
        details={
            "configuration": configuration.model_dump(mode="json"),
            "seeds": {"torch": configuration.seed, "shuffle": configuration.seed},
            "threads": torch.get_num_threads(),
            "data": {source.contributor: list(source.fingerprints) for source in sources},
            "objective": {task.name: task.fingerprint for task in tasks},
            "corpus": {blocks.name: _counts(blocks) for blocks in supplied},
            "held_out": {blocks.name: _counts(blocks) for blocks in held_out},
            "overlap": watch.report(),
            "libraries": {name: version(name) for name in ("transformers", "tokenizers")},
            "tokenizer": hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest(),
            **listed,
        },
        keep_displacements="run" if configuration.displacements else False,
        counterfactual=configuration.counterfactual,
    )
    if console is not None:
        console.print(f"metering will take {meter.footprint.total / 1e6:,.0f} MB besides training", markup=False)
    batches = corpus.batches(rows, configuration.seed, configuration.epochs)
    with meter, progress_on(console, steps, contributors, weights) as watcher:
        record = run_steps(model, optimizer, meter, batches, steps, configuration, watcher)
    if configuration.displacements and record.complete:
        meter.run_displacements.save(scratch / DISPLACEMENTS)
        pinned = {"sha256": file_sha256(scratch / DISPLACEMENTS)}
        record = replace(record, details={**record.details, "displacements": pinned})
    record.save(out / RECORD)
    if "displacements" in record.details:
        (scratch / DISPLACEMENTS).replace(out / DISPLACEMENTS)
    if configuration.scores:
        (scratch / RECORDS).replace(out / RECORDS)
    if record.scores is not None:
        record = replace(record, scores=out / RECORD / SCORES)  # the other goes with the scratch folder
    with no_bars():
        model.save_pretrained(out / MODEL)  # type: ignore[operator]  # a transformers model, typed as a module
        tokenizer.save_pretrained(out / MODEL)
    return record


def _tokenizer(sources: Sequence[Source], configuration: TrainingConfiguration) -> PreTrainedTokenizerFast:
    path = configuration.tokenizer or configuration.model
    if path is not None:
        return load_tokenizer(path)
    return train_tokenizer(chain.from_iterable(source.records() for source in sources), configuration.vocabulary)


def _those_of(sources: Sequence[Source], supplied: Sequence[Blocks]) -> tuple[list[Source], list[str]]:
    """The sources that gave blocks, and the names of the others."""
    names = {blocks.name for blocks in supplied}
    others = [source.contributor for source in sources if source.contributor not in names]
    return [source for source in sources if source.contributor in names], others


def _counts(blocks: Blocks) -> dict[str, Any]:
    return {"records": blocks.records, "tokens": blocks.token_count, "blocks": len(blocks.tokens)}
