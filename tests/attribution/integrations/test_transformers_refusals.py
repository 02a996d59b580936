"""What the callback of the Trainer refuses, each by name, and what is left of a run that ended early."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from datasets import ClassLabel, Dataset
from transformers import Trainer
from transformers.training_args import ParallelMode

from attribution import RunRecord
from attribution.errors import AttributionError, BatchError, NonFiniteError, OptionError
from attribution.integrations.transformers import MeterCallback
from tests.attribution.integrations.trainers import (
    NAMES,
    Rows,
    Stream,
    arguments,
    classifier,
    data,
    indexed,
    language_model,
    objective,
    padding,
)


class Failing(Trainer):
    """Fails in its third step, in one way or another."""

    way = "an error"

    def compute_loss(self, model: Any, inputs: Any, *rest: Any, **keywords: Any) -> Any:
        if self.state.global_step < 2:
            return super().compute_loss(model, inputs, *rest, **keywords)
        if self.way == "an error":
            raise RuntimeError("the data centre burns")
        if self.way == "contributors left out":
            return model(input_ids=inputs["input_ids"], labels=inputs["labels"]).loss
        loss = super().compute_loss(model, inputs, *rest, **keywords)
        if self.way == "two backward passes":
            loss.backward(retain_graph=True)
        if self.way == "a loss of something else":
            return model.score.weight.square().sum()
        return loss * float("nan") if self.way == "not a number" else loss


@pytest.mark.parametrize(
    ("way", "error", "message"),
    [
        ("an error", RuntimeError, "burns"),
        ("contributors left out", BatchError, r"model\(\.\.\., contributor=inputs\['contributor'\]\)"),
        ("two backward passes", BatchError, "second backward pass"),
        ("a loss of something else", BatchError, "no gradient came back"),
        ("not a number", NonFiniteError, "not finite"),
    ],
)
def test_a_run_that_an_error_ends_can_be_finished_as_a_partial_record(
    way: str, error: type[Exception], message: str, tmp_path: Path
) -> None:
    model, callback = classifier(), MeterCallback(objective("classifier"))
    trainer = Failing(
        model, arguments(tmp_path), padding("classifier"), train_dataset=data("classifier"), callbacks=[callback]
    )
    trainer.way = way
    with pytest.raises(error, match=message):
        trainer.train()
    record = callback.finish("it failed")
    assert not record.complete
    assert len(record.steps.values) == 2
    assert not any(module._forward_hooks for module in model.modules())
    assert RunRecord.load(tmp_path / "record").identity == record.identity


def renamed(name: Any) -> Dataset:
    who = [name if row == 17 else value for row, value in enumerate(data("classifier")["contributor"])]
    return data("classifier").remove_columns("contributor").add_column("contributor", who)


def packing(features: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    ids = torch.tensor([token for feature in features for token in feature["input_ids"]])
    return {"input_ids": ids[None], "labels": ids[None]}


REFUSED: dict[str, tuple[Any, Any, dict[str, Any], type[AttributionError], str]] = {
    "no column": (data("classifier").remove_columns("contributor"), None, {}, BatchError, "no column 'contributor'"),
    "no column in a list": (Rows([{"input_ids": [2]}]), None, {}, BatchError, "row 0 .*no column 'contributor'"),
    "no column in a stream": (
        Stream(data("classifier").remove_columns("contributor")), NAMES, {"max_steps": 2},
        BatchError, "row 0 .*no column"
    ),
    "an unknown name": (renamed("dave"), NAMES, {}, BatchError, "row 17 of the training data.*'dave' is not one of al"),
    "an unknown index": (indexed(data("classifier")), NAMES[:2], {}, BatchError, "2 is not one of alice, bob"),
    "an unknown name in a list": (Rows(list(renamed("dave"))), NAMES, {}, BatchError, "'dave' is not one of"),
    "nobody": (renamed(None), None, {}, OptionError, "row 17.*None is not a name"),
    "indices without names": (indexed(data("classifier")), None, {}, OptionError, "row 0.*contributors="),
    "a stream without names": (Stream(data("classifier")), None, {"max_steps": 2}, OptionError, "contributors="),
    "labels in another order": (
        data("classifier").cast_column("contributor", ClassLabel(names=NAMES)), NAMES[::-1], {},
        OptionError, "in its order"
    ),
    "the best of several models": (
        data("classifier"), None, {"load_best_model_at_end": True, "save_strategy": "best", "eval_strategy": "epoch",
        "metric_for_best_model": "loss"}, OptionError, "load_best_model_at_end=False"
    ),
    "a batch size that is found out": (
        data("classifier"), None, {"auto_find_batch_size": True}, OptionError, "auto_find_batch_size=False"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_metered_is_refused_by_name(name: str, tmp_path: Path) -> None:
    dataset, contributors, options, error, message = REFUSED[name]
    callback = MeterCallback(objective("classifier"), contributors)
    trainer = Trainer(
        classifier(),
        arguments(tmp_path, **options),
        padding("classifier"),
        train_dataset=dataset,
        eval_dataset=data("classifier"),
        callbacks=[callback],
    )
    with pytest.raises(error, match=message):
        trainer.train()


def test_a_collator_that_packs_is_refused_by_name(tmp_path: Path) -> None:
    table, callback = data("language model"), MeterCallback(objective("language model"))
    trainer = Trainer(language_model(), arguments(tmp_path), packing, table, callbacks=[callback])
    with pytest.raises(BatchError, match=r"4 features.*pads instead of one that packs"):
        trainer.train()


def test_an_error_in_a_worker_of_the_loader_names_the_row_too(tmp_path: Path) -> None:
    callback = MeterCallback(objective("classifier"), NAMES)
    chosen = arguments(tmp_path, dataloader_num_workers=1, train_sampling_strategy="sequential")
    dataset = Rows(list(renamed("dave")))
    with pytest.raises(BatchError, match="row 1 of a batch, column 'contributor': 'dave' is not one of"):
        Trainer(classifier(), chosen, padding("classifier"), dataset, callbacks=[callback]).train()


@pytest.mark.parametrize("how", ["torch_compile", "dynamo backend"])
def test_compilation_is_refused_by_name(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Both ways are taken from the environment, when accelerate's state of the process is made.
    for name in ("BACKEND", "MODE"):
        monkeypatch.setenv(f"ACCELERATE_DYNAMO_{name}", "default")
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "inductor" if how == "dynamo backend" else "no")
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        callback = MeterCallback(objective("classifier"))
        chosen = arguments(tmp_path, torch_compile=how == "torch_compile")
        trainer = Trainer(classifier(), chosen, padding("classifier"), data("classifier"), callbacks=[callback])
        with pytest.raises(OptionError, match="torch_compile=False"):
            trainer.train()
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


def test_several_processes_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = arguments(tmp_path)
    monkeypatch.setattr(type(chosen), "parallel_mode", ParallelMode.DISTRIBUTED)
    trainer = Trainer(
        classifier(),
        chosen,
        padding("classifier"),
        data("classifier"),
        callbacks=[MeterCallback(objective("classifier"))],
    )
    with pytest.raises(OptionError, match="several processes"):
        trainer.train()


def test_a_callback_meters_one_run_and_must_be_there_when_the_trainer_is_made(tmp_path: Path) -> None:
    trainer = Trainer(
        classifier(),
        arguments(tmp_path),
        padding("classifier"),
        data("classifier"),
        callbacks=[MeterCallback(objective("classifier"))],
    )
    trainer.train()
    with pytest.raises(OptionError, match="make a new one"):
        trainer.train()
    trainer = Trainer(classifier(), arguments(tmp_path), padding("classifier"), data("classifier"))
    trainer.add_callback(MeterCallback(objective("classifier")))
    with pytest.raises(OptionError, match="callbacks="):
        trainer.train()
    with pytest.raises(OptionError, match="no training has begun"):
        MeterCallback(objective("classifier")).finish()
