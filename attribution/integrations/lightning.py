"""The meter as a callback of Lightning's Trainer, of the package ``lightning``."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor

from attribution.errors import BatchError, OptionError
from attribution.integrations.column import ContributorColumn
from attribution.integrations.passes import Passes
from attribution.meter import InRunShapley
from attribution.objective import Loss
from attribution.record import RunRecord


class MeterCallback(Callback):
    """Meters one ``fit`` of a module whose training batches say whose their rows are.

    Args:
        objective: as of `InRunShapley`; it is called with the `LightningModule`.
        contributors: names of the players; by default the names in the column of the training dataset, sorted.
        column: where the batch holds the contributors' names or indices, one a row: a key of a mapping, the place in
            a tuple, or an attribute. What a mapping's default collation makes of names or indices is right.
        out: folder of the record, ``trainer.default_root_dir/record`` by default.
        options: further options of `InRunShapley`.

    After ``trainer.fit(...)`` the record is in ``record`` and in its folder; after an error it is a partial one of the
    steps that were metered. The module learns exactly what it learns without the callback.

    Raises `OptionError` when training begins with what cannot be metered: manual optimization, several optimizers,
    several devices, compiled modules; and whatever `InRunShapley` raises.
    """

    def __init__(
        self,
        objective: Loss | Mapping[str, Loss],
        contributors: Sequence[str] | None = None,
        *,
        column: str | int = "contributor",
        out: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> None:
        self.meter: InRunShapley | None = None
        self.record: RunRecord | None = None
        self._objective, self._contributors, self._options = objective, contributors, options
        self._place, self._out = column, out
        self._column = ContributorColumn(str(column), ())
        self._who: Tensor | None = None
        self._passes: Passes | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the meter; the passes of each batch begin with its training step."""
        if self.meter is not None:
            raise OptionError("this MeterCallback has metered a run already: make a new one")
        _refuse(trainer, pl_module)
        if self._contributors is None and isinstance(self._place, int):
            raise OptionError("names are not looked for in tuples: give MeterCallback(..., contributors=[names])")
        dataset = getattr(trainer.train_dataloader, "dataset", None)
        self._column = ContributorColumn.of(dataset, str(self._place), self._contributors)
        self._out = Path(trainer.default_root_dir) / "record" if self._out is None else self._out
        self.meter = InRunShapley(
            pl_module, trainer.optimizers[0], self._objective, self._column.contributors, **self._options
        )
        self._passes = Passes(self.meter)
        _begin_with(self._open, pl_module)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Take the contributors from the batch."""
        self._who = self._column.indices(_part(batch, self._place))

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Divide the gradient, before it is clipped."""
        if self._passes is not None and self._passes.under_way:
            self._passes.close()

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Let go of a batch that the training step skipped by returning None."""
        self._abandon()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The same for a batch that accumulates."""
        self._abandon()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make and save the record."""
        self._finish(pl_module, None)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Make and save the record of the steps before the error."""
        self._finish(pl_module, f"{type(exception).__name__}: {exception}")

    def _open(self) -> None:
        if self._passes is not None and self._who is not None:
            self._passes.open(self._who)

    def _abandon(self) -> None:
        if self._passes is not None:
            self._passes.abandon()

    def _finish(self, pl_module: LightningModule, stopped: str | None) -> None:
        if self.meter is None or self._out is None or self.record is not None:
            return
        self._abandon()
        vars(pl_module).pop("training_step", None)
        self.record = self.meter.finish(stopped)
        self.record.save(self._out)


def _begin_with(action: Any, module: LightningModule) -> None:
    """Have `action` called at the beginning of every training step.

    No hook is called there: the last one before it is called outside the optimizer's step, in which Lightning runs
    both passes.
    """
    inner = module.training_step

    @functools.wraps(inner)
    def training_step(*arguments: Any, **keywords: Any) -> Any:
        action()
        return inner(*arguments, **keywords)

    vars(module)["training_step"] = training_step


def _part(batch: Any, place: str | int) -> Any:
    if isinstance(place, int) and isinstance(batch, (tuple, list)) and -len(batch) <= place < len(batch):
        return batch[place]
    if isinstance(place, str) and isinstance(batch, Mapping) and place in batch:
        return batch[place]
    if isinstance(place, str) and not isinstance(batch, Mapping) and hasattr(batch, place):
        return getattr(batch, place)
    raise BatchError(f"a training batch ({type(batch).__name__}) has no {place!r}: give MeterCallback(..., column=...)")


def _refuse(trainer: Trainer, module: LightningModule) -> None:
    reasons = {
        "with manual optimization nobody can tell where a batch ends: use meter.batch in the training step": (
            not module.automatic_optimization
        ),
        "it has not one optimizer: meter a module with one": len(trainer.optimizers) != 1,
        "several processes or devices share a batch: train on one": (
            trainer.world_size != 1 or not isinstance(trainer.strategy, SingleDeviceStrategy)
        ),
        "compiled code runs no hooks: fit the module that was compiled": (
            getattr(module, "_compiler_ctx", None) is not None
        ),
    }
    for reason, refused in reasons.items():
        if refused:
            raise OptionError(f"this training cannot be metered: {reason}")
