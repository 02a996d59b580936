"""The reference trainer's training once more, without a meter and without some records."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch.optim.lr_scheduler import LambdaLR

from attribution.record import RunRecord
from attribution.training.configuration import TrainingConfiguration
from attribution.training.corpus import Blocks, Corpus, next_token_loss, pack
from attribution.training.deterministic import deterministic
from attribution.training.errors import TooLittleTextError
from attribution.training.loop import build_optimizer, learning_rate_factor
from attribution.training.model import build_model
from attribution.training.sources import Source
from attribution.uses.errors import UseError
from attribution.uses.scoring import TrainedModel

Place = tuple[str, int]  # a record: its dataset's fingerprint and its number there


def retrained(
    record: RunRecord, trained: TrainedModel, sources: Sequence[Source], without: Collection[Place] = ()
) -> TrainedModel:
    """The model of a training with the run's configuration, seed and tokenizer, on the sources without some records.

    With nothing left out it is the run's own model, to rounding. Contributors who have less than a block left take no
    part, and the steps are those of what is left. Raises `UseError` where that is nothing.
    """
    configuration = TrainingConfiguration.of(**record.details["configuration"])
    left_out, supplied = frozenset(without), []
    with tempfile.TemporaryDirectory() as scratch, deterministic(configuration):
        for number, source in enumerate(sources):
            packed = _packed(source, left_out, trained, Path(scratch) / str(number))
            supplied += [] if packed is None else [packed]
        if not supplied:
            raise UseError("without these records there is not one block left to train on")
        corpus = Corpus(supplied)
        rows, epochs = configuration.batch_rows, configuration.epochs
        steps = min(corpus.steps(rows, epochs), configuration.max_steps or 2**63)
        model = build_model(configuration, trained.tokenizer)
        optimizer = build_optimizer(model, configuration)
        schedule = LambdaLR(optimizer, lambda step: learning_rate_factor(step, steps, configuration.warmup))
        parameters = [p for p in model.parameters() if p.requires_grad]
        for _, batch in zip(range(steps), corpus.batches(rows, configuration.seed, epochs), strict=False):
            next_token_loss(model, batch.tokens).backward()  # type: ignore[no-untyped-call]
            if configuration.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(parameters, configuration.clip_norm)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    return replace(trained, model=model)


def _packed(source: Source, without: frozenset[Place], trained: TrainedModel, file: Path) -> Blocks | None:
    texts = (one.text for one in source.numbered() if (one.dataset, one.number) not in without)
    try:
        return pack("contributor", source.contributor, texts, trained.tokenizer, trained.context, file)
    except TooLittleTextError:
        return None
