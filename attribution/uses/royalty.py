"""Royalties: what each contributor's data did to the loss on given texts, after the fact and to the last nat.

A run that kept its displacements can be valued by any text later (`attribution.afterwards`). The positive values'
shares are royalty shares in the manner of Wang et al., "An Economic Solution to Copyright Challenges of Generative AI"
(2024), who take the Shapley value of retraining. The result is a run record: it is booked and settled as any other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attribution.afterwards import value_afterwards
from attribution.errors import RecordError
from attribution.manifest import versions
from attribution.objective import Objective
from attribution.parameters import fingerprint
from attribution.record import RunRecord, Steps
from attribution.training.configuration import TrainingConfiguration
from attribution.training.model import build_model
from attribution.training.tokenizer import encode, load_tokenizer
from attribution.uses.displaced import displacements_of
from attribution.uses.errors import MissingFromRunError, QueryError, UseError
from attribution.uses.samples import pieces_of
from attribution.uses.tracer import summed_loss

CARRIED = ("began_at", "ended_at", "data", "configuration", "seeds", "optimizer", "optimizer_steps", "parameters")


def royalty(
    record: RunRecord,
    run: Path,
    texts: Mapping[str, str],
    *,
    reference: str | None = None,
    tolerance: float = 1e-3,
    advance: Callable[[int], None] = lambda evaluations: None,
) -> RunRecord:
    """The record of what each contributor of a run did to its model's loss on `texts`, by name.

    Each text is a task, all of the same weight; values are in nats a token. `run` is the folder that the trainer wrote;
    its model must be the run's own. A `reference`, such as an invoice's number, makes two uses of one text two
    records; without it the same texts give the same record. It begins when the run began, where consent is judged.
    `advance` is told how many more gradients were computed. The path is refined until the gap is within `tolerance` of
    the improvement.

    Raises `MissingFromRunError` where the run kept no displacements, `QueryError` for a text too short to have a loss,
    `UseError` without texts, `OptionError` for a tolerance that is none, `RecordError` for another model than the
    run's.
    """
    if not texts:
        raise UseError("royalties are for at least one text")
    kept = displacements_of(record, run)
    if not (run / "model").is_dir():
        raise MissingFromRunError(run, "model of the reference trainer", "give the folder that `train` wrote")
    context, rows = int(record.details["configuration"]["context"]), int(record.details["configuration"]["batch_rows"])
    tokenizer = load_tokenizer(run / "model")
    tokens = {name: encode(tokenizer, [text])[0] for name, text in texts.items()}
    tasks = {name: _task(name, pieces_of(ids, context), rows) for name, ids in tokens.items()}
    model = build_model(TrainingConfiguration(model=run / "model", context=context), tokenizer)
    if fingerprint(model) != record.details["parameters"]["final"]:
        raise RecordError(f"{run / 'model'}: is not the model with which the run ended: its parameters are others")
    step = value_afterwards(model, kept, tasks, tolerance=tolerance, advance=advance)
    step = replace(step, rows=record.rows, length=int(record.steps.length.sum()))
    stated = {name: {"sha256": _sha256(text), "tokens": len(tokens[name])} for name, text in texts.items()}
    details: dict[str, Any] = {name: record.details[name] for name in CARRIED if name in record.details}
    details["method"] = {"name": "path", "tolerance": tolerance, "nodes": None, "every": "run", "memory": "buffered"}
    details["royalty"] = {"run": record.identity, "texts": stated, "reference": reference}
    return RunRecord(
        contributors=record.contributors,
        tasks=list(tasks),
        weights=np.full(len(tasks), 1 / len(tasks)),
        steps=Steps.of([step], len(record.contributors), len(tasks)),
        details={**details, "versions": versions()},
    )


def _task(name: str, pieces: Sequence[Sequence[int]], rows: int) -> Objective:
    """The mean loss of a text's tokens that have one before them in their piece."""
    if not pieces:
        raise QueryError(f"text {name!r} is shorter than two tokens: it has no loss to divide")
    predicted = sum(len(piece) - 1 for piece in pieces)
    batches = [pieces[at : at + rows] for at in range(0, len(pieces), rows)]

    def mean_loss(model: nn.Module, batch: Sequence[Sequence[int]]) -> Tensor:
        filled = torch.full((len(batch), max(map(len, batch))), -1)
        for row, piece in zip(filled, batch, strict=True):
            row[: len(piece)] = torch.tensor(piece)
        return summed_loss(model, filled) / sum(len(piece) - 1 for piece in batch)

    weights = [sum(len(piece) - 1 for piece in batch) / predicted for batch in batches]
    return Objective(mean_loss, batches, weights)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
