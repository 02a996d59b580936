"""Tracing: which training samples speak for a text, by the dot products of their gradients (DESIGN §3.4).

The score of a sample z for a query text q is, with θ the model's final parameters, L the summed and ℓ the mean loss of
a text's tokens, each from those before it, in nats::

    s(z, q) = ∇ℓ(q; θ)ᵀ P ∇L(z; θ) / n(z)

With the preconditioner P = 1 and n = 1 this is TracInCP of Pruthi et al., "Estimating Training Data Influence by
Tracing Gradient Descent" (NeurIPS 2020), with one checkpoint, the last, and learning rate 1; with P the inverse of the
Hessian it would be an influence function. Positive = a small gradient step on z would lower the loss on q. No gradient
of a single sample is made, unless n is its length (`attribution.uses.scoring.Measure`): with the query's gradient
known, a sample's score is what its captured factors give in that direction, as during a run.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from transformers import PreTrainedTokenizerFast

from attribution.record import Floats, RunRecord
from attribution.training.sources import Source
from attribution.training.tokenizer import encode
from attribution.uses.samples import Sample
from attribution.uses.scoring import Measure, TrainedModel, scored


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
    measure: Measure | None = None,
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
    trained = TrainedModel.of(record, run)
    tokens = len(encode(trained.tokenizer, [text])[0])
    ranking = _Ranking(show)
    for batch, scores in scored(trained, sources, text, measure or Measure(), advance):
        ranking.add(batch, scores)
    top, bottom = ([one.found(trained.tokenizer) for one in ranked] for ranked in ranking.ends())
    return Traced(tokens, ranking.totals, ranking.counts, top, bottom)


class _Ranked(NamedTuple):
    key: float  # the score, or minus the score
    order: int  # minus the number of the sample: of equal scores the earlier one comes first
    score: float
    sample: Sample

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

    def add(self, samples: Sequence[Sample], scores: Floats) -> None:
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
