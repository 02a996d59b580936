"""Tokenised text: blocks of one length, each from one contributor, drawn in proportion to the contributors' data."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from attribution.objective import Objective
from attribution.training.errors import LeakageError, TooLittleTextError
from attribution.training.sources import Source, TaskSource
from attribution.training.tokenizer import encode

_ENCODE_RECORDS = 256


@dataclass(frozen=True)
class Blocks:
    """The blocks of one contributor or task: token ids ``[blocks, context]``, memory-mapped from disk."""

    name: str
    tokens: npt.NDArray[np.uint32]
    records: int
    token_count: int  # before the last, partial block was dropped
    first_records: npt.NDArray[np.int64]  # [blocks], the record, counted from 0, in which each block begins

    def sample(self, block: int) -> str:
        """What a block is called where samples are scored: contributor, the record that it begins in, and block."""
        return f"{self.name}/{self.first_records[block]}/{block}"


def pack(
    kind: str,
    name: str,
    records: Iterable[str],
    tokenizer: PreTrainedTokenizerFast,
    context: int,
    file: Path,
    *,
    counted: Callable[[int], None] | None = None,
) -> Blocks:
    """Tokenise records, join them by the end-of-text token, and cut them into blocks kept in `file`.

    A stream: memory holds a few hundred records at a time. What is left after the last whole block is dropped.
    `counted` is told each record's tokens in turn, its end-of-text token included.
    Raises `TooLittleTextError`, naming the contributor or task, if there is not one whole block.
    """
    stream, count, total = iter(records), 0, 0
    begins: list[int] = []
    with file.open("wb") as out:
        while texts := list(islice(stream, _ENCODE_RECORDS)):
            for record, ids in enumerate(encode(tokenizer, texts), start=count):
                np.asarray([*ids, tokenizer.eos_token_id], dtype=np.uint32).tofile(out)
                total += len(ids) + 1
                if counted is not None:
                    counted(len(ids) + 1)
                begins.extend([record] * (-(-total // context) - len(begins)))
            count += len(texts)
    blocks = total // context
    if not blocks:
        raise TooLittleTextError(kind, name, total, context)
    tokens = np.memmap(file, dtype=np.uint32, mode="r", shape=(blocks, context))
    return Blocks(name, tokens, count, total, np.array(begins[:blocks], dtype=np.int64))


@dataclass(frozen=True)
class Batch:
    """Token ids and, for every row, the index of its contributor. Rows of one contributor are adjacent."""

    tokens: Tensor  # int64 [rows, context]
    who: Tensor  # int64 [rows]
    samples: list[str]  # the rows' names, see `Blocks.sample`


class Corpus:
    """Everybody's blocks, shuffled together: each block is drawn once an epoch, so data weighs by its amount."""

    def __init__(self, contributors: Sequence[Blocks]) -> None:
        self.contributors = list(contributors)
        sizes = [len(blocks.tokens) for blocks in self.contributors]
        self._starts = np.concatenate([[0], np.cumsum(sizes)])

    def __len__(self) -> int:
        """Blocks of all contributors."""
        return int(self._starts[-1])

    def batches(self, rows: int, seed: int, epochs: int = 1) -> Iterator[Batch]:
        """Batches of `rows` blocks over `epochs` passes, in an order that the seed decides.

        An epoch's last batch is shorter where the blocks do not divide.
        """
        for epoch in range(epochs):
            order = np.random.default_rng((seed, epoch)).permutation(len(self))
            for start in range(0, len(self), rows):
                # A block's number grows with its contributor's, so sorting makes a contributor's rows adjacent.
                yield self._batch(np.sort(order[start : start + rows]))

    def steps(self, rows: int, epochs: int = 1) -> int:
        """Batches that `batches` yields."""
        return epochs * -(-len(self) // rows)

    def _batch(self, numbers: npt.NDArray[np.int64]) -> Batch:
        who = np.searchsorted(self._starts, numbers, side="right") - 1
        rows = [(self.contributors[c], int(n - self._starts[c])) for c, n in zip(who, numbers, strict=True)]
        tokens = np.stack([blocks.tokens[block] for blocks, block in rows]).astype(np.int64)
        samples = [blocks.sample(block) for blocks, block in rows]
        return Batch(torch.from_numpy(tokens), torch.from_numpy(who.astype(np.int64)), samples)


def next_token_loss(model: nn.Module, tokens: Tensor) -> Tensor:
    """Mean cross entropy, in nats a token, of each token ``[rows, 1:]`` given those before it."""
    logits = model(input_ids=tokens, use_cache=False).logits
    return F.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]).float(), tokens[:, 1:].reshape(-1))


def objective(task: Blocks, rows: int, chunk_rows: int) -> Objective:
    """The mean loss over `rows` of a task's blocks, spread evenly over its text, in chunks of `chunk_rows`."""
    count = len(task.tokens)
    chosen = np.linspace(0, count, num=min(rows, count), endpoint=False).astype(np.int64)
    tokens = torch.from_numpy(task.tokens[chosen].astype(np.int64))
    return Objective(next_token_loss, [tokens[at : at + chunk_rows] for at in range(0, len(tokens), chunk_rows)])


class LeakageWatch:
    """Counts the training records that are also records of a task, while the training data streams by.

    Records are compared after Unicode normalisation (NFC) and with white space at line ends and both ends removed.
    Memory grows with the objective, not with the training data.
    """

    def __init__(self, tasks: Iterable[TaskSource]) -> None:
        self._held_out: dict[bytes, set[str]] = {}
        for task in tasks:
            for record in task.records():
                self._held_out.setdefault(_digest(record), set()).add(task.name)
        self.overlaps: Counter[tuple[str, str]] = Counter()

    def watch(self, source: Source, records: Iterable[str] | None = None) -> Iterator[str]:
        """A source's `records`, unchanged; what overlaps is counted in ``overlaps[contributor, task]``."""
        for record in source.records() if records is None else records:
            for task in self._held_out.get(_digest(record), ()):
                self.overlaps[source.contributor, task] += 1
            yield record

    def refuse(self) -> None:
        """Raise `LeakageError` if any overlap was seen."""
        if self.overlaps:
            raise LeakageError(dict(self.overlaps))

    def report(self) -> Mapping[str, Mapping[str, int]]:
        """Overlapping records seen, by contributor and task."""
        found: dict[str, dict[str, int]] = {}
        for (contributor, task), count in sorted(self.overlaps.items()):
            found.setdefault(contributor, {})[task] = count
        return found


def _digest(record: str) -> bytes:
    lines = unicodedata.normalize("NFC", record).strip().splitlines()
    return hashlib.sha256("\n".join(line.rstrip() for line in lines).encode("utf-8", "surrogatepass")).digest()
