"""Plain trainings of a small GPT-2 shape on what a keep list leaves, watched on held-out text; losses of records."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

from attribution.training import Source, TrainingConfiguration
from attribution.training.corpus import Corpus, next_token_loss, pack
from attribution.training.keeping import KeepList
from attribution.training.loop import build_optimizer
from attribution.training.model import build_model
from attribution.training.tokenizer import encode, load_tokenizer

WARMUP = 20  # steps; then the learning rate stays, so that a curve can be read at any of its steps

Floats = npt.NDArray[np.float64]


def tokenizer_of(configuration: TrainingConfiguration) -> PreTrainedTokenizerFast:
    """The tokenizer that the configuration names."""
    assert configuration.tokenizer is not None
    return load_tokenizer(configuration.tokenizer)


@contextmanager
def packed(sources: Sequence[Source], configuration: TrainingConfiguration) -> Iterator[Corpus]:
    """Everybody's blocks, as the trainer packs them."""
    tokenizer = tokenizer_of(configuration)
    with tempfile.TemporaryDirectory() as folder:
        yield Corpus(
            [
                pack("contributor", s.contributor, s.records(), tokenizer, configuration.context, Path(folder) / str(n))
                for n, s in enumerate(sources)
            ]
        )


def trained(
    sources: Sequence[Source],
    keep: Path | None,
    configuration: TrainingConfiguration,
    steps: int,
    test: Sequence[str] = (),
    every: int = 1,
) -> tuple[nn.Module, list[float]]:
    """The model after so many steps, without what the list does not keep, and its test loss after each `every` steps.

    As many epochs as the steps need. Without a test there are no losses.
    """
    if keep is not None:
        kept = KeepList.load(keep)
        sources = [kept.of(source) for source in sources]
    tokenizer = tokenizer_of(configuration)
    held = _blocks(test, tokenizer, configuration.context) if test else None
    torch.manual_seed(configuration.seed)
    model, losses = build_model(configuration, tokenizer), []
    optimizer = build_optimizer(model, configuration)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / WARMUP))
    with packed(sources, configuration) as corpus:
        epochs = 1 + steps // corpus.steps(configuration.batch_rows)
        batches = corpus.batches(configuration.batch_rows, configuration.seed, epochs)
        for step, batch in zip(range(1, steps + 1), batches, strict=False):
            next_token_loss(model, batch.tokens).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            rate.step()
            if held is not None and step % every == 0:
                losses.append(_loss(model, held))
    return model, losses


def record_losses(model: nn.Module, texts: Sequence[str], configuration: TrainingConfiguration) -> Floats:
    """Each text's mean loss in nats a token, read in pieces of the context from its first token on: ``[texts]``."""
    tokenizer, found = tokenizer_of(configuration), []
    for ids in encode(tokenizer, list(texts)):
        row = torch.tensor([tokenizer.eos_token_id, *ids])
        pieces = functional.pad(row, (0, -len(row) % configuration.context), value=-1).view(-1, configuration.context)
        with torch.no_grad():
            logits = model(input_ids=pieces.clamp(min=0), use_cache=False).logits[:, :-1]
            loss = functional.cross_entropy(logits.flatten(0, 1), pieces[:, 1:].flatten(), ignore_index=-1)
        found.append(float(loss))
    return np.array(found)


def record_tokens(texts: Sequence[str], configuration: TrainingConfiguration) -> list[int]:
    """How many tokens each text has, the end of text included."""
    return [len(ids) + 1 for ids in encode(tokenizer_of(configuration), list(texts))]


def _blocks(texts: Sequence[str], tokenizer: PreTrainedTokenizerFast, context: int) -> Tensor:
    with tempfile.TemporaryDirectory() as folder:
        blocks = pack("task", "test", texts, tokenizer, context, Path(folder) / "tokens")
        return torch.from_numpy(blocks.tokens.astype(np.int64))


def _loss(model: nn.Module, blocks: Tensor) -> float:
    with torch.no_grad():
        return float(
            np.average(
                [float(next_token_loss(model, part)) for part in blocks.split(64)],
                weights=[len(part) for part in blocks.split(64)],
            )
        )
