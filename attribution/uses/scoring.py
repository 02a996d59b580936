"""How a run's samples are scored for a text: with its last model, a preconditioner, and scores made comparable."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedTokenizerFast

from attribution.record import Floats, RunRecord
from attribution.training.configuration import TrainingConfiguration
from attribution.training.model import build_model
from attribution.training.sources import Source
from attribution.training.tokenizer import encode, load_tokenizer
from attribution.uses.errors import MissingFromRunError, QueryError, UseError
from attribution.uses.preconditioner import PRECONDITIONERS, fitted
from attribution.uses.samples import Sample, filled_up, pieces_of, samples_of
from attribution.uses.tracer import Tracer, summed_loss

NORMALISATIONS = ("none", "tokens", "gradient")
FITTED_ON = 512  # training samples, drawn from all

_WINDOW = 64  # batches that are held, to put samples of one length together


@dataclass(frozen=True)
class Measure:
    """By which product gradients are compared, and what a sample's score is divided by. Raises `UseError`.

    By its number of predicted ``"tokens"``, which makes of its summed loss the mean one, or by the length of its
    ``"gradient"``, √(gᵀPg), so that the score is the cosine that P measures but for the query's own length.
    """

    preconditioner: str = "identity"
    normalise: str = "none"

    def __post_init__(self) -> None:
        if self.preconditioner not in PRECONDITIONERS:
            raise UseError(f"preconditioner {self.preconditioner!r} is not one of {', '.join(PRECONDITIONERS)}")
        if self.normalise not in NORMALISATIONS:
            raise UseError(f"scores are normalised by one of {', '.join(NORMALISATIONS)}, not {self.normalise!r}")


@dataclass(frozen=True)
class TrainedModel:
    """The model with which a run of the reference trainer ended, and its tokenizer."""

    model: nn.Module
    tokenizer: PreTrainedTokenizerFast
    context: int
    rows: int  # of a batch

    @classmethod
    def of(cls, record: RunRecord, run: Path) -> TrainedModel:
        """Load it from the folder that the trainer wrote. Raises `MissingFromRunError` where there is none."""
        stated = record.details.get("configuration")
        if stated is None or not (run / "model").is_dir():
            raise MissingFromRunError(run, "model of the reference trainer", "give the folder that `train` wrote")
        context, tokenizer = int(stated["context"]), load_tokenizer(run / "model")
        model = build_model(TrainingConfiguration(model=run / "model", context=context), tokenizer)
        return cls(model, tokenizer, context, int(stated["batch_rows"]))

    def pieces(self, text: str) -> list[list[int]]:
        """The text's tokens in pieces of the context. Raises `QueryError` for a text too short to have a loss."""
        pieces = pieces_of(encode(self.tokenizer, [text])[0], self.context)
        if not pieces:
            raise QueryError("the text is shorter than two tokens: there is no loss to trace")
        return pieces

    def loss(self, text: str) -> float:
        """The mean loss of the text's tokens that have one before them in their piece, nats."""
        pieces = self.pieces(text)
        with torch.no_grad():
            self.model.eval()
            summed = sum(float(summed_loss(self.model, torch.tensor([piece]))) for piece in pieces)
        return summed / sum(len(piece) - 1 for piece in pieces)


def scored(
    trained: TrainedModel,
    sources: Sequence[Source],
    text: str,
    measure: Measure,
    advance: Callable[[int], None] = lambda samples: None,
) -> Iterator[tuple[list[Sample], Floats]]:
    """The samples of the sources and their scores ``[rows]``, a batch at a time; see `attribution.uses.trace`.

    `advance` is told how many more were scored. The memory is that of a training step. Raises `QueryError` for a text
    too short to have a loss, and `UseError` where there are no samples.
    """
    pieces, context = trained.pieces(text), trained.context
    predicted = sum(len(piece) - 1 for piece in pieces)
    with Tracer(trained.model) as tracer:
        drawn = _drawn(samples_of(sources, trained.tokenizer, context), measure)
        if not drawn:
            raise UseError("there is no data to rank: the run's datasets are not at hand")
        precondition = fitted(measure.preconditioner, tracer, [torch.tensor(sample.tokens) for sample in drawn])
        samples = samples_of(sources, trained.tokenizer, context)
        gradient = tracer.gradient([torch.tensor(piece) for piece in pieces], 1 / predicted)
        directions = precondition(gradient).unsqueeze(0)
        while window := list(islice(samples, _WINDOW * trained.rows)):
            window.sort(key=lambda sample: len(sample.tokens))  # so that little is filled up
            for start in range(0, len(window), trained.rows):
                batch = window[start : start + trained.rows]
                scores = tracer.scores(filled_up(batch, context), directions)[:, 0]
                if measure.normalise == "tokens":
                    scores = scores / np.array([len(sample.tokens) - 1 for sample in batch])
                elif measure.normalise == "gradient":
                    lengths = tracer.lengths([torch.tensor(sample.tokens) for sample in batch], precondition)
                    scores = np.divide(scores, lengths, out=np.zeros_like(scores), where=lengths > 0)
                yield batch, scores
                advance(len(batch))


def _drawn(samples: Iterator[Sample], measure: Measure) -> list[Sample]:
    """As many as the preconditioner is fitted on, each of the samples alike likely (Vitter's algorithm R)."""
    if measure.preconditioner == "identity":
        return list(islice(samples, 1))
    draw, held = random.Random(0), list(islice(samples, FITTED_ON))
    for number, sample in enumerate(samples, start=len(held)):
        place = draw.randrange(number + 1)
        if place < FITTED_ON:
            held[place] = sample
    return held
