"""Unlearning a contributor from a run of the reference trainer: a checkpoint, and what it did to each task's loss.

The estimate θ_T − α·D_c (`attribution.uses.unlearning`), then a short repair: the trainer's own loop on everybody
else's data, at the low learning rate with which the run ended. Losses are in nats.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rfc8785
import torch
from torch import nn
from transformers import PreTrainedTokenizerFast

from attribution.errors import RecordError
from attribution.folder import write_folder
from attribution.parameters import fingerprint
from attribution.record import RunRecord
from attribution.training.configuration import TrainingConfiguration
from attribution.training.corpus import Blocks, Corpus, next_token_loss, objective, pack
from attribution.training.deterministic import deterministic
from attribution.training.errors import TooLittleTextError
from attribution.training.loop import FINAL_RATE, build_optimizer
from attribution.training.model import build_model, no_bars
from attribution.training.sources import Source, TaskSource
from attribution.training.tokenizer import load_tokenizer
from attribution.uses.displaced import displacements_of
from attribution.uses.errors import MissingFromRunError, UseError
from attribution.uses.predict import valuations
from attribution.uses.unlearning import STRENGTH, Forgotten, checked_strength, forget

MODEL, REPORT = "model", "report.json"
FORMAT = "ghostledger-unlearning/1"
REPAIR = 0.1  # of the run's steps, where nothing is said
WARMUP = 0.1  # of the repair's steps: the optimizer begins without a memory


@dataclass(frozen=True)
class Plan:
    """How to unlearn: how much of the displacement to take back, and how long and fast to repair.

    Raises `UseError` for what makes no sense.
    """

    strength: float = STRENGTH
    steps: int | None = None  # of repair; a tenth of the run's where not given
    learning_rate: float | None = None  # that with which the run ended, where not given
    seed: int = 0  # of the repair's batches

    def __post_init__(self) -> None:
        checked_strength(self.strength)
        if self.steps is not None and self.steps < 0:
            raise UseError(f"a repair takes 0 steps or more, not {self.steps}")
        if self.learning_rate is not None and not 0 < self.learning_rate < float("inf"):
            raise UseError(f"the repair's learning rate must be a number above 0, not {self.learning_rate}")


@dataclass(frozen=True)
class Unlearned:
    """A checkpoint without a contributor, in the folder `path`, and how it was made."""

    path: Path
    run: str
    forgotten: Forgotten
    predicted: dict[str, list[float]]  # the change had they never taken part, by valuation: values, [tasks]
    steps: int
    learning_rate: float
    seed: int
    repaired_on: dict[str, int]  # blocks, by contributor
    gone: list[str] = field(default_factory=list)  # other contributors without data to repair on

    def json(self) -> dict[str, Any]:
        """The report, as JSON."""
        found = self.forgotten
        return {
            "format": FORMAT,
            "run": self.run,
            "contributor": found.contributor,
            "strength": found.strength,
            "repair": {
                "steps": self.steps,
                "learning_rate": self.learning_rate,
                "seed": self.seed,
                "blocks": self.repaired_on,
                "without": self.gone,
            },
            "parameters": {
                "before": found.parameters_before,
                "estimate": found.parameters_estimate,
                "after": found.parameters_after,
            },
            "tasks": [
                {
                    "task": task,
                    "loss_before": float(found.before[t]),
                    "predicted_change": {by: values[t] for by, values in self.predicted.items()},
                    "predicted_change_of_estimate": float(found.slope[t]),
                    "change_of_estimate": float(found.estimate[t] - found.before[t]),
                    "change": float(found.after[t] - found.before[t]),
                }
                for t, task in enumerate(found.tasks)
            ],
        }


def unlearn(
    record: RunRecord,
    run: Path,
    sources: Sequence[Source],
    tasks: Sequence[TaskSource],
    contributor: str,
    out: Path,
    plan: Plan | None = None,
    *,
    advance: Callable[[int], None] = lambda steps: None,
) -> Unlearned:
    """Write to the new folder `out` a model without what the contributor did, and a report of what that changed.

    `run` is the folder that the trainer wrote, `sources` the others' data, for the repair (the contributor's own is
    left out), `tasks` the objective's held-out text. `advance` is told how many more steps of repair were taken.
    Predicted are the change of each loss had the contributor never taken part, by the run's values, and that of the
    estimate, by the slope of the loss; measured is what came of both.

    Raises `MissingFromRunError` where the run kept no displacements, `RecordError` for files that are not the record's,
    and `UseError` for a contributor, tasks or data that do not fit. Nothing is written then.
    """
    plan = plan or Plan()
    if contributor not in record.contributors:
        raise UseError(f"{contributor!r} took no part in the run, only {', '.join(record.contributors)}")
    if out.exists():
        raise RecordError(f"{out}: exists; choose another folder for the checkpoint")
    displacements = displacements_of(record, run)
    if not (run / MODEL).is_dir():
        raise MissingFromRunError(run, "model of the reference trainer", "give the folder that `train` wrote")
    if {task.name: task.fingerprint for task in tasks} != record.details.get("objective"):
        raise UseError(f"the run was measured on other tasks than {', '.join(repr(task.name) for task in tasks)}")
    configuration = _continued(record, run)
    steps = max(1, round(REPAIR * record.steps.length.sum())) if plan.steps is None else plan.steps
    rate = FINAL_RATE * configuration.learning_rate if plan.learning_rate is None else plan.learning_rate
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".unlearn-") as scratch, deterministic(configuration):
        folder, tokenizer = Path(scratch), load_tokenizer(run / MODEL)
        model = build_model(configuration, tokenizer)
        if fingerprint(model) != record.details["parameters"]["final"]:
            raise RecordError(f"{run / MODEL}: is not the model with which the run ended")
        measured = _objective(tasks, record.tasks, configuration, tokenizer, folder)
        others = [source for source in sources if source.contributor != contributor]
        supplied = _packed(others, configuration, tokenizer, folder) if steps else []
        if steps and not supplied:
            raise UseError("nobody else's data is at hand for the repair: ask for 0 steps of it")

        def repair() -> None:
            _repair(model, supplied, configuration, steps, rate, plan.seed, advance)

        forgotten = forget(model, displacements, contributor, measured, repair, strength=plan.strength)
        at = record.contributors.index(contributor)
        found = Unlearned(
            path=out,
            run=record.identity,
            forgotten=forgotten,
            predicted={by: valuation.values[at].tolist() for by, valuation in valuations(record).items()},
            steps=steps,
            learning_rate=rate,
            seed=plan.seed,
            repaired_on={blocks.name: len(blocks.tokens) for blocks in supplied},
            gone=_absent(record, contributor, supplied) if steps else [],
        )
        whole = folder / "whole"
        write_folder(whole, {REPORT: rfc8785.dumps(found.json())}, {})
        with no_bars():
            model.save_pretrained(whole / MODEL)  # type: ignore[operator]  # a transformers model, typed as a module
            tokenizer.save_pretrained(whole / MODEL)
        whole.replace(out)
    return found


def _continued(record: RunRecord, run: Path) -> TrainingConfiguration:
    """The run's configuration, to go on from its model."""
    stated = dict(record.details["configuration"])
    stated |= {"model": run / MODEL, "tokenizer": None, "layers": None, "width": None, "heads": None}
    return TrainingConfiguration.of(**stated)


def _objective(
    tasks: Sequence[TaskSource],
    order: Sequence[str],
    configuration: TrainingConfiguration,
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
) -> dict[str, Any]:
    """The losses that the run was measured by, in its order."""
    found = {}
    for number, task in enumerate(sorted(tasks, key=lambda task: order.index(task.name))):
        file = folder / f"task-{number}"
        blocks = pack("task", task.name, task.records(), tokenizer, configuration.context, file)
        found[task.name] = objective(blocks, configuration.validation_rows, configuration.batch_rows)
    return found


def _packed(
    sources: Sequence[Source], configuration: TrainingConfiguration, tokenizer: PreTrainedTokenizerFast, folder: Path
) -> list[Blocks]:
    """The others' blocks; who has less than a block left takes no part in the repair."""
    found = []
    for number, source in enumerate(sources):
        file, name = folder / f"data-{number}", source.contributor
        try:
            found.append(pack("contributor", name, source.records(), tokenizer, configuration.context, file))
        except TooLittleTextError:
            continue
    return found


def _absent(record: RunRecord, contributor: str, supplied: Sequence[Blocks]) -> list[str]:
    there = {blocks.name for blocks in supplied} | {contributor}
    return [name for name in record.contributors if name not in there]


def _repair(
    model: nn.Module,
    supplied: Sequence[Blocks],
    configuration: TrainingConfiguration,
    steps: int,
    rate: float,
    seed: int,
    advance: Callable[[int], None],
) -> None:
    """The trainer's loop, unmetered, at one learning rate after a short rise."""
    if not steps:
        return
    corpus, rows = Corpus(supplied), configuration.batch_rows
    epochs = -(-steps // corpus.steps(rows))
    optimizer = build_optimizer(model, configuration)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    rise = max(1, round(WARMUP * steps))
    for number, batch in zip(range(steps), corpus.batches(rows, seed, epochs), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (number + 1) / rise)
        next_token_loss(model, batch.tokens).backward()  # type: ignore[no-untyped-call]
        if configuration.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, configuration.clip_norm)
        optimizer.step()
        optimizer.zero_grad()
        advance(1)
