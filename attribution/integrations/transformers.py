"""The meter as a callback of the transformers Trainer."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from accelerate.state import AcceleratorState
from accelerate.utils import DynamoBackend
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import TrainerCallback
from transformers.training_args import ParallelMode
from transformers.utils.generic import find_labels

from attribution.errors import BatchError, OptionError
from attribution.ghost.trees import map_tensors, tensors_in
from attribution.integrations.column import ContributorColumn
from attribution.integrations.passes import Passes
from attribution.meter import InRunShapley
from attribution.objective import Loss, Objective
from attribution.record import RunRecord


class MeterCallback(TrainerCallback):
    """Meters the training of one `Trainer` whose training data has a column of contributors.

    Args:
        objective: as of `InRunShapley`; `evaluation_objective` makes one of an evaluation dataset.
        contributors: names of the players; by default the names that are in the column, sorted.
        column: the column, which holds a contributor's name, or its index, in every row.
        out: folder of the record, ``args.output_dir/record`` by default.
        options: further options of `InRunShapley`.

    After ``trainer.train()`` the record is in ``record`` and in its folder; after an error, ``finish(why)`` makes a
    partial one of the steps that were metered. The model learns exactly what it learns without the callback.

    While the training data is loaded, the callback removes the columns that the model does not take, as the Trainer
    would (``remove_unused_columns``), since the Trainer would remove the contributors too.

    Raises `OptionError` when training begins with what cannot be metered: several processes or devices, compiled
    models, ``load_best_model_at_end``, ``auto_find_batch_size``; and whatever `InRunShapley` raises.
    """

    def __init__(
        self,
        objective: Loss | Mapping[str, Loss],
        contributors: Sequence[str] | None = None,
        *,
        column: str = "contributor",
        out: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> None:
        self.meter: InRunShapley | None = None
        self.record: RunRecord | None = None
        self._objective, self._contributors, self._options = objective, contributors, options
        self._column, self._out = column, out
        self._kept: set[str] | None = None  # columns that the Trainer would keep, if it is to remove the others
        self._loop: _Loop | None = None

    def on_init_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep the Trainer from removing the column until the training data is loaded."""
        if args.remove_unused_columns:
            self._kept = _columns_taken(kwargs["model"], args)
            args.remove_unused_columns = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Make the meter, and have the column collated."""
        if self.meter is not None:
            raise OptionError("this MeterCallback has metered a run already: make a new one, and a new Trainer")
        if args.remove_unused_columns:
            raise OptionError(
                "this MeterCallback came after the Trainer had been made, which removes the column of contributors: "
                "give it to the Trainer(..., callbacks=[...])"
            )
        _refuse(args)
        model, loader = kwargs["model"], kwargs["train_dataloader"]
        column = ContributorColumn.of(loader.dataset, self._column, self._contributors)
        collator = ContributorCollator(loader.collate_fn, column, self._kept)
        for each in (loader, getattr(loader, "base_dataloader", loader)):  # accelerate's, and the one inside
            each.collate_fn = collator
        # The evaluation data is loaded from here on, and what is unused in it is the Trainer's to remove.
        args.remove_unused_columns = self._kept is not None
        self._out = Path(args.output_dir) / "record" if self._out is None else self._out
        optimizer = getattr(kwargs["optimizer"], "optimizer", kwargs["optimizer"])  # accelerate's, and the one inside
        self.meter = InRunShapley(model, optimizer, self._objective, column.contributors, **self._options)
        self._loop = _Loop(model, self.meter, column.name)

    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A batch that accumulates is over."""
        self._check_divided()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The last batch before a step is over."""
        self._check_divided()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Make and save the record."""
        self.finish()

    def finish(self, stopped: str | None = None) -> RunRecord:
        """End the metering and save the record, which is partial if `stopped` says why the run ended early."""
        if self.meter is None or self._loop is None:
            raise OptionError("no training has begun that could be finished")
        self._loop.close()
        self.record = self.meter.finish(stopped)
        assert self._out is not None
        self.record.save(self._out)
        return self.record

    def _check_divided(self) -> None:
        if self._loop is not None:
            self._loop.check_divided()


class ContributorCollator:
    """A data collator that takes the column out of the features, and adds the contributors' indices to the batch.

    `kept` names the columns that the collator inside is to get; all of them if None.
    """

    def __init__(self, collator: Callable[[list[Any]], Any], column: ContributorColumn, kept: set[str] | None) -> None:
        self.collator, self.column, self.kept = collator, column, kept

    def __call__(self, features: list[Any]) -> Any:
        """The batch of the collator inside, with a LongTensor ``[rows]`` under the column's name.

        Raises `BatchError`, naming the row, for a feature whose contributor is missing or unknown, and for a batch
        whose rows are not the features.
        """
        taken = [self.column.taken_from(feature, row) for row, feature in enumerate(features)]
        batch = self.collator([_only(feature, self.kept) for feature, _ in taken])
        if not isinstance(batch, MutableMapping):
            raise BatchError(f"a data collator must return a mapping, not {type(batch).__name__}, to be metered")
        if not any(tensor.dim() and len(tensor) == len(features) for tensor in tensors_in(batch)):
            raise BatchError(
                f"the data collator made no tensor with a row for each of its {len(features)} features, so nobody can "
                "tell whose its rows are: use one that pads instead of one that packs"
            )
        batch[self.column.name] = self.column.indices(value for _, value in taken)
        return batch


class _Loop:
    """Meters the passes of a Trainer's loop, from hooks on its model.

    A batch is opened when the model is called with contributors, and closed when the engine has finished its backward
    pass, which is before the Trainer clips the gradients. (Callbacks of the Trainer come after that.)
    """

    def __init__(self, model: nn.Module, meter: InRunShapley, key: str) -> None:
        self._passes, self._key = Passes(meter), key
        self._queued = False  # whether the batch under way will be closed by a backward pass
        self._handles: list[RemovableHandle] = [
            # Before the meter's own hooks: they are to see the call without contributors, in an open batch.
            model.register_forward_pre_hook(self._before, with_kwargs=True, prepend=True),
            model.register_forward_hook(self._after),
        ]

    def close(self) -> None:
        """Take the hooks off; a batch that is under way is abandoned."""
        self._passes.abandon()
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def check_divided(self) -> None:
        """Raise `BatchError` if the batch's backward pass did not come through the model's outputs."""
        if self._passes.under_way:
            self._passes.abandon()
            raise BatchError("no gradient came back through the model's outputs: the loss must be computed from them")

    def _before(
        self, model: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        keywords = dict(keywords)
        who = keywords.pop(self._key, None)
        if model.training and torch.is_grad_enabled() and not self._passes.under_way:
            if who is None:
                raise BatchError(
                    f"the model was called without the batch's contributors: a loss of your own must pass them on, "
                    f"model(..., {self._key}=inputs[{self._key!r}])"
                )
            self._queued = False
            self._passes.open(who)
        return arguments, keywords

    def _after(self, model: nn.Module, arguments: tuple[Any, ...], output: Any) -> Any:
        if not self._passes.under_way or self._queued:
            return output
        return map_tensors(self._watched, output)

    def _watched(self, output: Tensor) -> Tensor:
        if output.requires_grad:
            output.register_hook(self._arriving)  # type: ignore[no-untyped-call]
        # The Trainer scales the loss in place, and hooks do not survive that on a view.
        return output.clone() if output.requires_grad and not output.dim() else output

    def _arriving(self, _: Tensor) -> None:
        if not self._passes.under_way:
            raise BatchError("a second backward pass through one batch: nothing after the first would be attributed")
        if not self._queued:
            self._queued = True
            engine = torch.autograd.Variable._execution_engine
            engine.queue_callback(self._passes.close)


def evaluation_objective(
    model: nn.Module, dataset: Any, collator: Callable[[list[Any]], Any], batch_size: int = 8
) -> Objective:
    """The loss that the Trainer reports as ``eval_loss``: the model's own, its batches weighted by their rows.

    Columns of the dataset that the model does not take, a contributors' column among them, are left out.
    """
    kept = _columns_taken(model, None)
    rows = [_only(dataset[row], kept) for row in range(len(dataset))]
    slices = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    return Objective(_own_loss, [collator(part) for part in slices], [len(part) for part in slices])


def _own_loss(model: nn.Module, batch: Mapping[str, Any]) -> Tensor:
    device = next(model.parameters()).device
    outputs = model(**{key: value.to(device) if isinstance(value, Tensor) else value for key, value in batch.items()})
    loss: Tensor = outputs["loss"] if isinstance(outputs, dict) else outputs[0]
    return loss


def _only(feature: Any, kept: set[str] | None) -> Any:
    if kept is None or not isinstance(feature, Mapping):
        return feature
    return {key: value for key, value in feature.items() if key in kept}


def _columns_taken(model: nn.Module, args: Any) -> set[str]:
    """The columns that the Trainer would keep."""
    inner: Any = getattr(model, "get_base_model", lambda: model)()
    labels = (
        args.label_names if args is not None and args.label_names is not None else cast(Any, find_labels)(type(inner))
    )
    return {*inspect.signature(inner.forward).parameters, "label", "label_ids", *labels}


def _refuse(args: Any) -> None:
    reasons = {
        "several processes or devices share a batch: train on one": (
            args.parallel_mode != ParallelMode.NOT_PARALLEL or bool(getattr(args, "deepspeed", None))
        ),
        "compiled code runs no hooks: set torch_compile=False, and no dynamo backend for accelerate": (
            args.torch_compile or AcceleratorState().dynamo_plugin.backend != DynamoBackend.NO
        ),
        "the record is of the model as the last step leaves it: set load_best_model_at_end=False": (
            args.load_best_model_at_end
        ),
        "a run that begins anew cannot go on in one record: set auto_find_batch_size=False": args.auto_find_batch_size,
    }
    for reason, refused in reasons.items():
        if refused:
            raise OptionError(f"this training cannot be metered: {reason}")
