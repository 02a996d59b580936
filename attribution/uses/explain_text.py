"""Explaining a language model's loss on a text by the records of its run: `attribution.uses.explain` for text."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from attribution.record import RunRecord
from attribution.training.sources import Source
from attribution.uses.counterfactual import Counterfactual, counterfactual
from attribution.uses.errors import UseError
from attribution.uses.explain import ENDS, EXTREMES, SURPRISING
from attribution.uses.hypotheses import Hypothesis, hypotheses
from attribution.uses.retrain import Place, retrained
from attribution.uses.samples import Sample
from attribution.uses.scoring import Measure, TrainedModel, scored
from attribution.uses.trace import Found

CHECKS = ("group", *ENDS)


@dataclass(frozen=True)
class TextExplanation:
    """What a text's loss, in nats a token, is explained by; each end's samples from its end on."""

    loss: float
    tokens: int
    samples: int
    raised: list[Found]
    lowered: list[Found]
    hypotheses: list[Hypothesis]


def explain_text(
    record: RunRecord,
    run: Path,
    sources: Sequence[Source],
    text: str,
    *,
    measure: Measure | None = None,
    extremes: int = EXTREMES,
    advance: Callable[[int], None] = lambda samples: None,
) -> TextExplanation:
    """Explain the last model's loss on a text by the run's samples, tested by contributor and by dataset.

    Arguments and errors are those of `attribution.uses.trace.trace`; `extremes` samples of each end are tested and
    returned. Datasets are tested where a contributor has several.
    """
    if extremes < 1:
        raise UseError(f"at least one sample of each end is tested, not {extremes}")
    trained = TrainedModel.of(record, run)
    ends: tuple[list[_Ranked], list[_Ranked]] = ([], [])
    sizes: dict[str, Counter[str]] = {"contributor": Counter(), "dataset": Counter()}
    seen = 0
    for batch, scores in scored(trained, sources, text, measure or Measure(), advance):
        for sample, score in zip(batch, scores.tolist(), strict=True):
            seen += 1
            sizes["contributor"][sample.contributor] += 1
            sizes["dataset"][sample.dataset] += 1
            for heap, sign in zip(ends, (-1, 1), strict=True):
                if sign * score > 0:
                    ranked = (sign * score, -seen, sample)
                    (heapq.heappush if len(heap) < extremes else heapq.heappushpop)(heap, ranked)
    if len(sizes["dataset"]) == len(sizes["contributor"]):
        del sizes["dataset"]  # it says the same
    drawn = {
        end: {name: [getattr(sample, name) for _, _, sample in heap] for name in sizes}
        for end, heap in zip(ENDS, ends, strict=True)
        if heap
    }
    raised, lowered = (
        [
            Found(sign * size, *sample[:4], str(trained.tokenizer.decode(sample.tokens)))
            for size, _, sample in sorted(heap, reverse=True)
        ]
        for heap, sign in zip(ends, (-1, 1), strict=True)
    )
    tokens = sum(len(piece) for piece in trained.pieces(text))
    return TextExplanation(trained.loss(text), tokens, seen, raised, lowered, hypotheses(drawn, sizes))


def check_text(
    record: RunRecord,
    run: Path,
    sources: Sequence[Source],
    text: str,
    explained: TextExplanation,
    what: str = CHECKS[0],
    *,
    draws: int = 3,
    advance: Callable[[int], None] = lambda trainings: None,
) -> tuple[str, Counterfactual]:
    """Train again without the hypothesised ``"group"``, or without the records that ``"raised"`` or ``"lowered"`` most.

    Beside it, `draws` times without as many records drawn at random. Returns what was removed, in words, and what came
    of it. Raises `UseError` where there is no surprising hypothesis, or nothing at that end, and for a run that stopped
    early or whose data is not all at hand: trained again it would be another run.
    """
    if what not in CHECKS:
        raise UseError(f"what is removed is one of {', '.join(CHECKS)}, not {what!r}")
    _check_repeatable(record, sources)
    trained = TrainedModel.of(record, run)
    places = [(source.contributor, (one.dataset, one.number)) for source in sources for one in source.numbered()]
    end, said, removed = _removed(explained, what, places)
    numbers = [number for number, (_, place) in enumerate(places) if place in removed]

    def loss_without(chosen: frozenset[int]) -> float:
        return retrained(record, trained, sources, {places[number][1] for number in chosen}).loss(text)

    return said, counterfactual(
        loss_without,
        len(places),
        numbers,
        before=explained.loss,
        raises=end == ENDS[1],
        draws=draws,
        advance=advance,
    )


def _check_repeatable(record: RunRecord, sources: Sequence[Source]) -> None:
    if not record.complete:
        raise UseError(f"the run stopped early ({record.stopped}): it cannot be trained again to compare with")
    at_hand = {fingerprint for source in sources for fingerprint in source.fingerprints}
    for contributor, fingerprints in record.details["data"].items():
        for fingerprint in fingerprints:
            if fingerprint not in at_hand:
                raise UseError(
                    f"dataset {fingerprint[:12]} of {contributor!r} is not at hand any more: without it the run cannot "
                    "be trained again to compare with"
                )


def _removed(explained: TextExplanation, what: str, places: Sequence[tuple[str, Place]]) -> tuple[str, str, set[Place]]:
    """The end that is explained, what is removed in words, and its records."""
    if what != CHECKS[0]:
        found = explained.raised if what == ENDS[0] else explained.lowered
        if not found:
            raise UseError(f"no sample {what} the loss: there is nothing to remove")
        return what, f"the records that {what} the loss most", {(one.dataset, one.record) for one in found}
    surprising = [one for one in explained.hypotheses if one.corrected <= SURPRISING]
    if not surprising:
        least = min((one.corrected for one in explained.hypotheses), default=1.0)
        raise UseError(
            f"no group is over-represented at either end (least corrected p = {least:.2g}): "
            f"check the samples themselves, {ENDS[0]} or {ENDS[1]}"
        )
    named = min(surprising, key=lambda one: ENDS.index(one.end))  # what raised the loss, if anything did
    owner = named.grouping == "contributor"
    removed = {place for who, place in places if (who if owner else place[0]) == named.group}
    return named.end, f"{named.grouping} {named.group}", removed


_Ranked = tuple[float, int, Sample]
