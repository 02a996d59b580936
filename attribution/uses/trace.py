"""Tracing: which training samples speak for a text, by the dot products of their gradients (DESIGN §3.4).

The score of a sample z for a query text q is, with θ the model's final parameters, L the summed and ℓ the mean loss of
a text's tokens, each from those before it, in nats::

    s(z, q) = ∇ℓ(q; θ)ᵀ P ∇L(z; θ)

TracInCP of Pruthi et al., "Estimating Training Data Influence by Tracing Gradient Descent" (NeurIPS 2020), with one
checkpoint, the last, and learning rate 1. The preconditioner P is the identity. Positive = a small gradient step on z
would lower the loss on q. Every token counts alike, as it does in training: of means, the few tokens of the shortest
samples would come first. No gradient of a single sample is made: with the query's gradient known, a sample's score is
what its captured factors give in that direction, as during a run.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD
from transformers import PreTrainedTokenizerFast

from attribution.errors import UnscoredRowsError
from attribution.ghost.capture import Capture
from attribution.ghost.factors import KeptBatch
from attribution.ghost.gradients import DividedGradient
from attribution.parameters import ParameterSpace
from attribution.record import Floats, RunRecord
from attribution.training.configuration import TrainingConfiguration
from attribution.training.model import build_model
from attribution.training.sources import Source
from attribution.training.tokenizer import encode, load_tokenizer
from attribution.undisturbed import evaluation_mode, gradients_kept, random_state_kept
from attribution.uses.errors import MissingFromRunError, QueryError, UseError

Loss = Callable[[nn.Module, Tensor], Tensor]

_ENCODE_RECORDS = 256
_WINDOW = 64  # batches that are held, to put samples of one length together
_ROUNDING = 1e4  # units of rounding by which rows may miss what the whole gradient comes to


def summed_loss(model: nn.Module, rows: Tensor) -> Tensor:
    """The next-token losses of `rows` ``[rows, tokens]``, filled up with −1 at their ends, summed, in nats."""
    logits = model(input_ids=rows.clamp(min=0), use_cache=False).logits[:, :-1]
    return F.cross_entropy(logits.transpose(1, 2).float(), rows[:, 1:], ignore_index=-1, reduction="sum")


class Tracer:
    """Scores rows by what their gradients at the model's present parameters are in given directions.

    `loss(model, rows)` is a sum over the rows of each one's own loss. The model is left as it was; leave the ``with``
    block to take the hooks off it. Raises `UnsupportedLayerError` for modules that mix rows.
    """

    def __init__(self, model: nn.Module, loss: Loss = summed_loss) -> None:
        self._model, self._loss = model, loss
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._space = ParameterSpace(model, SGD(parameters, lr=0.0))
        self._gradient = DividedGradient(self._space, 1)
        self._capture = Capture(model, self._gradient, {}, divides=False)

    def gradient(self, rows: Sequence[Tensor], weight: float = 1.0) -> Tensor:
        """The gradient ``[P]`` of the losses of `rows`, each ``[tokens]``, summed and times `weight`."""
        found = self._space.zeros()
        with self._undisturbed():
            for row in rows:
                loss = weight * self._loss(self._model, row.unsqueeze(0))
                parameters = [place.parameter for place in self._space.places]
                gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
                self._space.write(gradients, self._space.places, found)
        return found

    def scores(self, rows: Tensor, directions: Tensor) -> Floats:
        """Each row's gradient times each of `directions` ``[queries, P]``: float64 ``[rows, queries]``.

        Raises `UnscoredRowsError` if the rows do not sum to what autograd's gradient of the batch comes to.
        """
        kept = KeptBatch(torch.zeros(len(rows), dtype=torch.long), None)
        with self._undisturbed():
            with self._capture.batch(kept.who, None, kept):
                self._loss(self._model, rows).backward()  # type: ignore[no-untyped-call]
            scores: Floats = kept.scores(directions).numpy()
            whole = np.zeros(len(directions))
            for place in self._space.places:
                if place.parameter.grad is not None:
                    whole += (place.of(directions) @ place.parameter.grad.reshape(-1)).double().cpu().numpy()
        allowed = _ROUNDING * self._gradient.epsilon * np.abs(scores).sum(axis=0) + 1e-300
        if not (np.abs(scores.sum(axis=0) - whole) <= allowed).all():
            raise UnscoredRowsError("trace", 0, float(scores.sum()), float(whole.sum()))
        return scores

    def close(self) -> None:
        """Take every hook off the model."""
        self._capture.close()
        self._gradient.close()

    def __enter__(self) -> Tracer:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        kept: list[AbstractContextManager[Any]] = [
            random_state_kept(),
            evaluation_mode(self._model),
            gradients_kept(self._model),
        ]
        with kept[0], kept[1], kept[2]:
            yield


@dataclass(frozen=True)
class Found:
    """A training sample with its score: a record, or where it is longer than the context its piece of that number."""

    score: float
    contributor: str
    dataset: str
    record: int
    piece: int
    text: str


@dataclass(frozen=True)
class Traced:
    """What each contributor's samples come to, and the samples that score most and least."""

    tokens: int  # of the query
    totals: dict[str, float]
    samples: dict[str, int]  # how many were scored, by contributor
    top: list[Found]
    bottom: list[Found]

    @property
    def shares(self) -> dict[str, Fraction]:
        """Each contributor's royalty share: the non-negative part of its total, of the sum of these; they sum to 1.

        Empty where no contributor's total is above 0.
        """
        return royalty_shares(self.totals)


def royalty_shares(totals: dict[str, float]) -> dict[str, Fraction]:
    """The non-negative parts of `totals` as exact shares of their sum; empty where that is 0."""
    parts = {name: Fraction(max(total, 0.0)) for name, total in totals.items()}
    whole = sum(parts.values(), Fraction(0))
    return {name: part / whole for name, part in parts.items()} if whole else {}


def trace(
    record: RunRecord,
    run: Path,
    sources: Sequence[Source],
    text: str,
    *,
    show: int = 10,
    advance: Callable[[int], None] = lambda samples: None,
) -> Traced:
    """Rank the run's training data for a text, at the parameters with which the run ended.

    `run` is the folder that the trainer wrote, `sources` the data that it was trained on. A sample is a record cut into
    pieces of the model's context, each read from its first token on as the text is, and not the block in which the
    trainer happened to pack it. `advance` is told how many more were scored. The memory is that of a training step.
    Raises `MissingFromRunError` where the run has no model, `QueryError` for a text too short to have a loss,
    `UseError` without data.
    """
    stated = record.details.get("configuration")
    if stated is None or not (run / "model").is_dir():
        raise MissingFromRunError(run, "model of the reference trainer", "give the folder that `train` wrote")
    context, rows = int(stated["context"]), int(stated["batch_rows"])
    tokenizer = load_tokenizer(run / "model")
    query = encode(tokenizer, [text])[0]
    pieces = _pieces(query, context)
    if not pieces:
        raise QueryError("the text is shorter than two tokens: there is no loss to trace")
    model = build_model(TrainingConfiguration(model=run / "model", context=context), tokenizer)
    predicted = sum(len(piece) - 1 for piece in pieces)
    ranking, samples = _Ranking(show), _samples(sources, tokenizer, context)
    with Tracer(model) as tracer:
        directions = tracer.gradient([torch.tensor(piece) for piece in pieces], 1 / predicted).unsqueeze(0)
        while window := list(islice(samples, _WINDOW * rows)):
            window.sort(key=lambda sample: len(sample.tokens))  # so that little is filled up
            for start in range(0, len(window), rows):
                batch = window[start : start + rows]
                ranking.add(batch, tracer.scores(_filled_up(batch, context), directions)[:, 0])
                advance(len(batch))
    if not ranking.counts:
        raise UseError("there is no data to rank: the run's datasets are not at hand")
    top, bottom = ([one.found(tokenizer) for one in ranked] for ranked in ranking.ends())
    return Traced(len(query), ranking.totals, ranking.counts, top, bottom)


class _Sample(NamedTuple):
    contributor: str
    dataset: str
    record: int
    piece: int
    tokens: list[int]


class _Ranked(NamedTuple):
    key: float  # the score, or minus the score
    order: int  # minus the number of the sample: of equal scores the earlier one comes first
    score: float
    sample: _Sample

    def found(self, tokenizer: PreTrainedTokenizerFast) -> Found:
        contributor, dataset, record, piece, tokens = self.sample
        return Found(self.score, contributor, dataset, record, piece, str(tokenizer.decode(tokens)))


class _Ranking:
    """Totals by contributor, and the samples at both ends, while the scores go by."""

    def __init__(self, show: int) -> None:
        self._show = show
        self._ends: tuple[list[_Ranked], list[_Ranked]] = ([], [])
        self.totals: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self._seen = 0

    def add(self, samples: Sequence[_Sample], scores: Floats) -> None:
        for sample, score in zip(samples, scores.tolist(), strict=True):
            self._seen += 1
            self.totals[sample.contributor] = self.totals.get(sample.contributor, 0.0) + score
            self.counts[sample.contributor] = self.counts.get(sample.contributor, 0) + 1
            for heap, sign in zip(self._ends, (1, -1), strict=True):
                ranked = _Ranked(sign * score, -self._seen, score, sample)
                if len(heap) < self._show:
                    heapq.heappush(heap, ranked)
                elif heap and ranked > heap[0]:
                    heapq.heapreplace(heap, ranked)

    def ends(self) -> tuple[list[_Ranked], list[_Ranked]]:
        """Those that score most, and those that score least, each from its end on."""
        most, least = (sorted(heap, reverse=True) for heap in self._ends)
        return most, least


def _pieces(tokens: list[int], context: int) -> list[list[int]]:
    """What has a loss: pieces of two tokens or more."""
    return [piece for at in range(0, len(tokens), context) if len(piece := tokens[at : at + context]) > 1]


def _samples(sources: Sequence[Source], tokenizer: PreTrainedTokenizerFast, context: int) -> Iterator[_Sample]:
    for source in sources:
        records = source.numbered()
        while batch := list(islice(records, _ENCODE_RECORDS)):
            encoded = encode(tokenizer, [record.text for record in batch])
            for record, tokens in zip(batch, encoded, strict=True):
                for number, piece in enumerate(_pieces(tokens, context)):
                    yield _Sample(source.contributor, record.dataset, record.number, number, piece)


def _filled_up(samples: Sequence[_Sample], context: int) -> Tensor:
    """The samples' tokens ``[rows, tokens]``, filled up with −1 to one of few lengths: new shapes cost proofs."""
    longest = max(len(sample.tokens) for sample in samples)
    width = min(context, 1 << (longest - 1).bit_length())
    rows = torch.full((len(samples), width), -1)
    for row, sample in zip(rows, samples, strict=True):
        row[: len(sample.tokens)] = torch.tensor(sample.tokens)
    return rows
