"""Small runs of the Trainer: data with contributors, models from a configuration, and what their records must be."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import nn
from torch.utils.data import IterableDataset
from transformers import (
    DataCollatorForLanguageModeling,
    DataCollatorWithPadding,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
)

from attribution import InRunShapley, RunRecord

NAMES = ["alice", "bob", "carol"]
VOCABULARY = 20


def tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of whole words, made here."""
    words = {"[PAD]": 0, "[UNK]": 1, **{f"w{i}": i for i in range(2, VOCABULARY)}}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="[UNK]")), pad_token="[PAD]", unk_token="[UNK]"
    )


def rows(count: int, seed: int = 0) -> dict[str, list[Any]]:
    """Sequences of different lengths with a class, a text that no model takes, and a contributor."""
    generator = random.Random(seed)
    ids = [[generator.randrange(2, VOCABULARY) for _ in range(generator.randrange(3, 8))] for _ in range(count)]
    return {
        "input_ids": ids,
        "label": [sum(row) % 2 for row in ids],
        "text": [f"row {i}" for i in range(count)],
        "contributor": [generator.choice(NAMES) for _ in range(count)],
    }


def classifier(dropout: float = 0.0) -> LlamaForSequenceClassification:
    """A small Llama that classifies, in float64."""
    torch.manual_seed(5)
    return LlamaForSequenceClassification(_configuration(dropout, num_labels=2)).double()


def language_model(dropout: float = 0.0) -> LlamaForCausalLM:
    """A small Llama in float64, its input and output embeddings tied."""
    torch.manual_seed(6)
    return LlamaForCausalLM(_configuration(dropout, tie_word_embeddings=True)).double()


def _configuration(dropout: float, **options: Any) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=12,
        max_position_embeddings=16,
        attention_dropout=dropout,
        pad_token_id=0,
        **options,
    )


MODELS: dict[str, Any] = {"classifier": classifier, "language model": language_model}


def padding(kind: str) -> Any:
    """The usual collator for a kind of model."""
    words = tokenizer()
    return DataCollatorWithPadding(words) if kind == "classifier" else DataCollatorForLanguageModeling(words, mlm=False)


def data(kind: str, count: int = 22, seed: int = 0) -> Dataset:
    """Rows for a kind of model."""
    table = Dataset.from_dict(rows(count, seed))
    return table if kind == "classifier" else table.remove_columns("label")


def arguments(folder: Path, **options: Any) -> TrainingArguments:
    """Arguments of a run of some steps on the CPU that reports to nobody."""
    defaults: dict[str, Any] = {
        "per_device_train_batch_size": 4,
        "num_train_epochs": 1,
        "learning_rate": 0.02,
        "lr_scheduler_type": "cosine",
        "max_grad_norm": 0.3,
        "seed": 11,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        "logging_strategy": "no",
    }
    return TrainingArguments(output_dir=str(folder), **{**defaults, **options})


def objective(kind: str) -> Any:
    """The model's loss on rows of its own."""
    held_out = data(kind, 6, seed=9).remove_columns(["text", "contributor"])
    batch = padding(kind)([held_out[row] for row in range(len(held_out))])
    return lambda model: model(**batch).loss


class Batches:
    """A collator that drops what no model takes, as the Trainer would, and keeps what it made."""

    def __init__(self, collator: Any) -> None:
        self.collator = collator
        self.made: list[tuple[list[int], dict[str, torch.Tensor]]] = []

    def __call__(self, features: list[dict[str, Any]]) -> Any:
        who = [NAMES.index(feature["contributor"]) for feature in features]
        batch = self.collator([{k: v for k, v in f.items() if k not in ("contributor", "text")} for f in features])
        self.made.append((who, dict(batch)))
        return batch


def plain_run(kind: str, folder: Path, dropout: float = 0.0, **options: Any) -> tuple[nn.Module, Batches]:
    """The training without a callback: the model, and its batches in order."""
    batches, model = Batches(padding(kind)), MODELS[kind](dropout)
    chosen = arguments(folder, **options, remove_unused_columns=False)
    Trainer(model, chosen, batches, train_dataset=data(kind)).train()
    return model, batches


def loop_by_hand(
    kind: str, batches: Batches, optimizer: Callable[[Any], torch.optim.Optimizer], accumulate: int
) -> tuple[nn.Module, RunRecord]:
    """A loop over the same batches with `with meter.batch` in it: the oracle of records."""
    model = MODELS[kind]().train()
    chosen = optimizer(model.parameters())
    groups = [batches.made[i : i + accumulate] for i in range(0, len(batches.made), accumulate)]
    schedule = torch.optim.lr_scheduler.LambdaLR(chosen, lambda i: 0.5 * (1 + math.cos(math.pi * i / len(groups))))
    meter = InRunShapley(model, chosen, objective(kind), NAMES)
    for group in groups:
        labels = [batch["labels"] if kind == "classifier" else batch["labels"][:, 1:] for _, batch in group]
        items = sum((each != -100).sum() for each in labels)
        for who, batch in group:
            with meter.batch(who):
                model(**batch, num_items_in_batch=items).loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.3)
        chosen.step()
        schedule.step()
        chosen.zero_grad()
    return model, meter.finish()


class MeteredByHand(Trainer):
    """A Trainer with a `with` block around each training step: the oracle of records under any option."""

    meter: InRunShapley | None = None

    def __init__(self, kind: str, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.kind = kind

    def training_step(self, model: nn.Module, inputs: Any, *rest: Any) -> torch.Tensor:
        who = inputs.pop("who")
        if self.meter is None:
            self.meter = InRunShapley(model, self.optimizer.optimizer, objective(self.kind), NAMES)
        with self.meter.batch(who):
            return super().training_step(model, inputs, *rest)


class WithWho(Batches):
    """The same, with the contributors' indices in the batch."""

    def __call__(self, features: list[dict[str, Any]]) -> Any:
        batch = super().__call__(features)
        batch["who"] = torch.tensor(self.made[-1][0])
        return batch


class Rows(torch.utils.data.Dataset):
    """Rows in a list."""

    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return self.rows[index]


class Stream(IterableDataset):
    """Rows that come one after the other."""

    def __init__(self, rows: Any) -> None:
        self.rows = list(rows)

    def __iter__(self) -> Any:
        return iter(self.rows)


def indexed(table: Dataset) -> Dataset:
    """The same with the contributors' indices instead of their names."""
    who = [NAMES.index(name) for name in table["contributor"]]
    return table.remove_columns("contributor").add_column("contributor", who)
