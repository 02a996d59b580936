"""The callback of the transformers Trainer: small real runs against the same runs metered by hand, or not at all."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset
from torch import nn
from torch.optim import SGD, AdamW
from transformers import Trainer

from attribution import RunRecord
from attribution.integrations.transformers import MeterCallback, evaluation_objective
from tests.attribution.integrations.trainers import (
    MODELS,
    NAMES,
    MeteredByHand,
    Rows,
    Stream,
    WithWho,
    arguments,
    classifier,
    data,
    indexed,
    loop_by_hand,
    objective,
    padding,
    plain_run,
)


def metered(kind: str, folder: Path, dropout: float = 0.0, **options: Any) -> tuple[nn.Module, MeterCallback, Trainer]:
    """The training with the callback."""
    model, callback = MODELS[kind](dropout), MeterCallback(objective(kind))
    trainer = Trainer(
        model, arguments(folder, **options), padding(kind), train_dataset=data(kind), callbacks=[callback]
    )
    trainer.train()
    return model, callback, trainer


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize(
    ("optim", "optimizer", "accumulate"),
    [
        ("adamw_torch", partial(AdamW, lr=0.02, weight_decay=0.0), 1),
        ("adamw_torch_fused", partial(AdamW, lr=0.02, weight_decay=0.0, fused=True), 4),
        ("sgd", partial(SGD, lr=0.02), 3),
    ],
)
def test_the_record_is_that_of_a_loop_written_by_hand(
    kind: str, optim: str, optimizer: Any, accumulate: int, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"optim": optim, "gradient_accumulation_steps": accumulate}
    plain, batches = plain_run(kind, tmp_path / "plain", **options)
    model, callback, _ = metered(kind, tmp_path / "metered", **options)
    by_hand, expected = loop_by_hand(kind, batches, optimizer, accumulate)
    assert same(plain, by_hand), "the oracle's loop is the Trainer's"
    assert same(plain, model)
    record = callback.record
    assert record is not None
    assert record.complete
    assert record.contributors == NAMES
    np.testing.assert_allclose(record.steps.values, expected.steps.values, rtol=0, atol=1e-9)
    np.testing.assert_allclose(record.steps.house, expected.steps.house, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(record.steps.rows, expected.steps.rows)
    assert record.steps.rows.sum() == 22, "every row was somebody's, in the last small batch too"


OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "accumulation": ("language model", {"gradient_accumulation_steps": 4}),
    "rows of a kind together": ("classifier", {"train_sampling_strategy": "group_by_length"}),
    "workers": ("language model", {"dataloader_num_workers": 2}),
    "workers that stay": (
        "classifier",
        {"dataloader_num_workers": 1, "dataloader_persistent_workers": True, "num_train_epochs": 2},
    ),
    "label smoothing": ("language model", {"label_smoothing_factor": 0.1}),
    "label smoothing of classes": ("classifier", {"label_smoothing_factor": 0.1, "gradient_accumulation_steps": 2}),
    "no clipping": ("classifier", {"max_grad_norm": 0.0}),
    "warm-up and weight decay": ("language model", {"warmup_steps": 3, "weight_decay": 0.1}),
    "batches dropped": ("classifier", {"dataloader_drop_last": True, "num_train_epochs": 2}),
    "recomputed activations": ("language model", {"gradient_checkpointing": True}),
    "recomputed the old way": (
        "language model",
        {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True}},
    ),
    "noisy embeddings": ("language model", {"neftune_noise_alpha": 0.5}),
    "bfloat16": ("language model", {"bf16": True}),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_under_any_option_the_training_is_the_plain_one_and_the_record_that_of_with_blocks(
    name: str, tmp_path: Path
) -> None:
    kind, options = OPTIONS[name]
    plain, _ = plain_run(kind, tmp_path / "plain", dropout=0.2, **options)
    model, callback, _ = metered(kind, tmp_path / "metered", dropout=0.2, **options)
    assert same(plain, model)
    by_hand = MODELS[kind](0.2)
    chosen = arguments(tmp_path / "hand", **options, remove_unused_columns=False)
    trainer = MeteredByHand(kind, by_hand, chosen, WithWho(padding(kind)), train_dataset=data(kind))
    trainer.train()
    assert trainer.meter is not None
    expected, record = trainer.meter.finish(), callback.record
    assert record is not None
    np.testing.assert_allclose(record.steps.values, expected.steps.values, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(record.steps.rows, expected.steps.rows)


def test_a_callback_values_absence_too(tmp_path: Path) -> None:
    callback = MeterCallback(objective("classifier"), counterfactual=True)
    chosen, table = arguments(tmp_path, gradient_accumulation_steps=2), data("classifier")
    Trainer(classifier(), chosen, padding("classifier"), train_dataset=table, callbacks=[callback]).train()
    record = callback.record
    assert record is not None
    values = record.beside["counterfactual"].values
    assert values.sum() == pytest.approx(record.values.sum(), rel=1e-9)
    assert not np.allclose(values, record.values)


def test_every_hook_is_taken_off_when_the_training_is_over(tmp_path: Path) -> None:
    model, callback, trainer = metered("language model", tmp_path)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert not trainer.optimizer.optimizer._optimizer_step_pre_hooks
    assert callback.record is not None
    assert RunRecord.load(tmp_path / "record").identity == callback.record.identity


@pytest.mark.parametrize(
    "held_out", [data("classifier", 6, seed=9), data("classifier", 6, seed=9).remove_columns("contributor")]
)
def test_evaluation_in_between_and_after_is_the_plain_one_and_is_not_metered(held_out: Dataset, tmp_path: Path) -> None:
    options: dict[str, Any] = {"eval_strategy": "steps", "eval_steps": 2, "eval_on_start": True}
    seen = []
    for callbacks in ([], [MeterCallback(objective("classifier"))]):
        table = data("classifier")
        trainer = Trainer(
            classifier(),
            arguments(tmp_path, **options),
            padding("classifier"),
            train_dataset=table if callbacks else table.remove_columns("contributor"),
            eval_dataset=held_out,
            callbacks=callbacks,
        )
        trainer.train()
        losses = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
        seen.append([*losses, trainer.evaluate()["eval_loss"], trainer.predict(held_out).predictions.tolist()])
    assert len(seen[0]) == 6
    assert seen[0] == seen[1]
    (callback,) = callbacks
    assert callback.record.steps.rows.sum() == 22


DATASETS: dict[str, tuple[Any, list[str] | None]] = {
    "a column of names": (data("classifier"), None),
    "names in another order": (data("classifier"), NAMES),
    "a column of indices": (indexed(data("classifier")), NAMES),
    "a column of class labels": (data("classifier").cast_column("contributor", ClassLabel(names=NAMES)), None),
    "tensors": (data("classifier").with_format("torch", columns=["input_ids", "label"], output_all_columns=True), None),
    "a list of rows": (Rows(list(data("classifier"))), None),
    "a stream": (Stream(data("classifier")), NAMES),
    "a stream of indices": (Stream(indexed(data("classifier"))), NAMES),
    "a streamed table": (data("classifier").to_iterable_dataset(), NAMES),
}


@pytest.mark.parametrize("name", DATASETS)
def test_a_contributor_is_a_name_or_an_index_in_any_kind_of_dataset(name: str, tmp_path: Path) -> None:
    dataset, contributors = DATASETS[name]
    callback = MeterCallback(objective("classifier"), contributors)
    chosen = arguments(tmp_path, max_steps=6, train_sampling_strategy="sequential")
    Trainer(classifier(), chosen, padding("classifier"), train_dataset=dataset, callbacks=[callback]).train()
    assert callback.record is not None
    assert callback.record.contributors == NAMES
    who = data("classifier")["contributor"]
    expected = [[who[i : i + 4].count(name) for name in NAMES] for i in range(0, 22, 4)]
    assert callback.record.steps.rows.tolist() == expected


def test_tasks_from_evaluation_data_are_the_evaluation_losses(tmp_path: Path) -> None:
    model, held_out = classifier(), {"one": data("classifier", 10, seed=9), "other": data("classifier", 9, seed=8)}
    collator = padding("classifier")
    tasks = {name: evaluation_objective(model, table, collator, 4) for name, table in held_out.items()}
    callback = MeterCallback(tasks, NAMES, out=tmp_path / "paid", details={"configuration": {"of": "a test"}})
    chosen = arguments(tmp_path, per_device_eval_batch_size=4)
    trainer = Trainer(model, chosen, collator, data("classifier"), held_out, callbacks=[callback])
    trainer.train()
    losses = trainer.evaluate()
    record = RunRecord.load(tmp_path / "paid")
    assert record.tasks == ["one", "other"]
    expected = [losses["eval_one_loss"], losses["eval_other_loss"]]
    np.testing.assert_allclose(record.steps.loss_after[-1], expected, rtol=1e-6)


def test_a_run_taken_up_again_is_metered_from_there(tmp_path: Path) -> None:
    records = []
    for folder, resumed in (("whole", None), ("rest", tmp_path / "whole" / "checkpoint-4")):
        callback = MeterCallback(objective("classifier"), out=tmp_path / folder / "record")
        chosen = arguments(tmp_path / folder, save_strategy="steps", save_steps=2, optim="sgd")
        trainer = Trainer(classifier(), chosen, padding("classifier"), data("classifier"), callbacks=[callback])
        trainer.train(resume_from_checkpoint=resumed and str(resumed))
        assert callback.record is not None
        records.append(callback.record)
    whole, rest = records
    assert len(rest.steps.values) == 2
    np.testing.assert_allclose(rest.steps.values, whole.steps.values[4:], rtol=0, atol=1e-9)


def test_with_unused_columns_kept_the_collator_gets_all_but_the_contributors(tmp_path: Path) -> None:
    seen: list[set[str]] = []

    def collate(features: list[dict[str, Any]]) -> Any:
        seen.extend(set(feature) for feature in features)
        return padding("classifier")([{k: v for k, v in feature.items() if k != "text"} for feature in features])

    callback = MeterCallback(objective("classifier"))
    chosen = arguments(tmp_path, remove_unused_columns=False)
    trainer = Trainer(classifier(), chosen, collate, data("classifier"), callbacks=[callback])
    trainer.train()
    assert seen == [{"input_ids", "label", "text"}] * 22
    assert not chosen.remove_unused_columns
