"""The samples of a run's data as they are traced: records, in pieces where they are longer than the model's context."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from attribution.training.sources import Source
from attribution.training.tokenizer import encode

_ENCODE_RECORDS = 256


class Sample(NamedTuple):
    """A record, or where it is longer than the context its piece of that number, counted from 0."""

    contributor: str
    dataset: str
    record: int
    piece: int
    tokens: list[int]


def pieces_of(tokens: list[int], context: int) -> list[list[int]]:
    """What has a loss: pieces of two tokens or more."""
    return [piece for at in range(0, len(tokens), context) if len(piece := tokens[at : at + context]) > 1]


def samples_of(sources: Sequence[Source], tokenizer: PreTrainedTokenizerFast, context: int) -> Iterator[Sample]:
    """All samples, in the order of the sources."""
    for source in sources:
        records = source.numbered()
        while batch := list(islice(records, _ENCODE_RECORDS)):
            encoded = encode(tokenizer, [record.text for record in batch])
            for record, tokens in zip(batch, encoded, strict=True):
                for number, piece in enumerate(pieces_of(tokens, context)):
                    yield Sample(source.contributor, record.dataset, record.number, number, piece)


def filled_up(samples: Sequence[Sample], context: int) -> Tensor:
    """The samples' tokens ``[rows, tokens]``, filled up with −1 to one of few lengths: new shapes cost proofs."""
    longest = max(len(sample.tokens) for sample in samples)
    width = min(context, 1 << (longest - 1).bit_length())
    rows = torch.full((len(samples), width), -1)
    for row, sample in zip(rows, samples, strict=True):
        row[: len(sample.tokens)] = torch.tensor(sample.tokens)
    return rows
