"""The callback of Lightning's Trainer: small real runs against a loop written by hand, and against no callback."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from attribution import InRunShapley, RunRecord
from attribution.errors import AttributionError, BatchError, NonFiniteError, OptionError
from attribution.integrations.lightning import MeterCallback
from tests.attribution.runs import classifier, drawn, objective

NAMES = ["alice", "bob", "carol"]
OPTIMIZERS: dict[str, Any] = {
    "SGD, momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    "AdamW": lambda parameters: torch.optim.AdamW(parameters, lr=0.02),
}


class Rows(Dataset):
    """Vectors with their classes and contributors, one mapping a row."""

    def __init__(self, count: int = 22) -> None:
        self.x, self.y = drawn(count, 4)
        self.who = torch.randint(0, 3, (count,), generator=torch.Generator().manual_seed(8)).tolist()

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> Any:
        return {"x": self.x[index], "y": self.y[index], "contributor": NAMES[self.who[index]]}


class Module(lightning.LightningModule):
    """A small classifier; calls of its modules are in the training step, not in its own forward."""

    def __init__(self, optimizer: str = "AdamW", dropout: float = 0.0) -> None:
        super().__init__()
        self.net, self.dropout, self.optimizer = classifier(), nn.Dropout(dropout), optimizer

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        hidden = self.dropout(self.net[1](self.net[0](batch["x"])))
        return functional.cross_entropy(self.net[2](hidden), batch["y"])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("loss", functional.cross_entropy(self(batch["x"]), batch["y"]))

    def configure_optimizers(self) -> Any:
        optimizer = OPTIMIZERS[self.optimizer](self.parameters())
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def fit(
    module: lightning.LightningModule, loader: Any, folder: Path, *callbacks: Any, val: Any = None, **options: Any
) -> Any:
    torch.manual_seed(1)
    trainer = lightning.Trainer(
        **{
            "max_epochs": 2,
            "accelerator": "cpu",
            "devices": 1,
            "default_root_dir": folder,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            "callbacks": list(callbacks),
            **options,
        }
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(num_workers|logging interval|val_dataloader).*")
        trainer.fit(module, loader, val)
    return trainer


def by_hand(optimizer: str, clip: float | None, accumulate: int, by_value: bool = False) -> tuple[nn.Module, RunRecord]:
    """The same run as a loop with `with meter.batch` in it."""
    module = Module(optimizer)
    chosen = OPTIMIZERS[optimizer](module.parameters())
    schedule = torch.optim.lr_scheduler.StepLR(chosen, 2, 0.5)
    meter = InRunShapley(module, chosen, objective(), NAMES)
    for _ in range(2):
        batches = list(DataLoader(Rows(), batch_size=4))
        for i, batch in enumerate(batches):
            with meter.batch([NAMES.index(name) for name in batch["contributor"]]):
                (module.training_step(batch, i) / accumulate).backward()
            if (i + 1) % accumulate == 0 or i + 1 == len(batches):
                if clip is not None and by_value:
                    nn.utils.clip_grad_value_(module.parameters(), clip)
                elif clip is not None:
                    nn.utils.clip_grad_norm_(module.parameters(), clip)
                chosen.step()
                schedule.step()
                chosen.zero_grad()
    return module, meter.finish()


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(
    ("clip", "accumulate", "by_value"), [(None, 1, False), (0.3, 1, False), (0.3, 4, False), (0.05, 1, True)]
)
def test_the_record_is_that_of_a_loop_written_by_hand(
    optimizer: str, clip: float | None, accumulate: int, by_value: bool, tmp_path: Path
) -> None:
    module, callback = Module(optimizer), MeterCallback(objective())
    options: dict[str, Any] = {"gradient_clip_val": clip, "accumulate_grad_batches": accumulate}
    options["gradient_clip_algorithm"] = "value" if by_value else "norm"
    fit(module, DataLoader(Rows(), batch_size=4), tmp_path, callback, **options)
    expected_module, expected = by_hand(optimizer, clip, accumulate, by_value)
    assert same(module, expected_module)
    record = callback.record
    assert record is not None
    assert record.complete
    assert record.contributors == NAMES
    np.testing.assert_allclose(record.steps.values, expected.steps.values, rtol=0, atol=1e-9)
    np.testing.assert_allclose(record.steps.house, expected.steps.house, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(record.steps.rows, expected.steps.rows)
    assert RunRecord.load(tmp_path / "record").identity == record.identity


class Skipping(Module):
    """Skips some batches."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        return None if batch_idx in (1, 2) else {"loss": loss}


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("kind", [Module, Skipping])
def test_the_training_is_the_plain_one_with_validation_in_between(kind: Any, accumulate: int, tmp_path: Path) -> None:
    loader, val = DataLoader(Rows(), batch_size=4), DataLoader(Rows(7), batch_size=4)
    options: dict[str, Any] = {"val_check_interval": 2, "val": val, "accumulate_grad_batches": accumulate}
    plain, metered = kind(dropout=0.3), kind(dropout=0.3)
    callback = MeterCallback(objective())
    expected = fit(plain, loader, tmp_path / "plain", gradient_clip_val=0.5, **options).callback_metrics["loss"]
    found = fit(metered, loader, tmp_path / "metered", callback, gradient_clip_val=0.5, **options)
    assert same(plain, metered)
    assert found.callback_metrics["loss"] == expected
    assert callback.record is not None
    assert callback.record.complete
    assert callback.record.steps.rows.sum() == (44 if kind is Module else 28)
    assert "training_step" not in vars(metered)
    assert not any(module._forward_hooks for module in metered.modules())


def collated(transform: Any) -> DataLoader:
    return DataLoader(Rows(), batch_size=4, collate_fn=lambda rows: transform(torch.utils.data.default_collate(rows)))


class Tupled(Module):
    """Takes tuples."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return super().training_step({"x": batch[0], "y": batch[1]}, batch_idx)


def test_a_batch_may_be_a_tuple_with_indices(tmp_path: Path) -> None:
    loader = collated(lambda b: (b["x"], b["y"], torch.tensor([NAMES.index(name) for name in b["contributor"]])))
    records = []
    for place in (2, -1):
        callback = MeterCallback(objective(), NAMES, column=place)
        fit(Tupled(), loader, tmp_path / str(place), callback)
        assert callback.record is not None
        records.append(callback.record)
    mapping = MeterCallback(objective())
    fit(Module(), DataLoader(Rows(), batch_size=4), tmp_path / "mapping", mapping)
    assert mapping.record is not None
    for record in records:
        np.testing.assert_array_equal(record.steps.values, mapping.record.steps.values)


class Manual(Module):
    """Optimizes by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False


class TwoOptimizers(Manual):
    """Has an optimizer too many."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = True

    def configure_optimizers(self) -> Any:
        return []


class Diverging(Module):
    """Reaches a loss that is not finite in its third step."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return super().training_step(batch, batch_idx) * (float("nan") if batch_idx == 2 else 1.0)


def without(batch: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in batch.items() if key != "contributor"}


REFUSED: dict[str, tuple[Any, Any, dict[str, Any], type[AttributionError], str]] = {
    "manual optimization": (Manual, None, {}, OptionError, "manual optimization"),
    "no optimizer": (TwoOptimizers, None, {}, OptionError, "not one optimizer"),
    "no column": (Module, collated(without), {"contributors": NAMES}, BatchError, "no 'contributor'"),
    "an unknown name": (Module, None, {"contributors": ["alice", "bob"]}, BatchError, "row 0.*'carol' is not one of"),
    "names in a tuple": (Tupled, None, {"column": 1}, OptionError, "contributors="),
    "no such place": (Module, None, {"contributors": NAMES, "column": 5}, BatchError, "no 5"),
    "another column": (Module, None, {"column": "owner"}, BatchError, "row 0.*'owner'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_metered_is_refused_by_name(name: str, tmp_path: Path) -> None:
    kind, loader, options, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        fit(kind(), loader or DataLoader(Rows(), batch_size=4), tmp_path, MeterCallback(objective(), **options))


def test_a_callback_meters_one_run(tmp_path: Path) -> None:
    callback = MeterCallback(objective())
    fit(Module(), DataLoader(Rows(), batch_size=4), tmp_path, callback)
    with pytest.raises(OptionError, match="make a new one"):
        fit(Module(), DataLoader(Rows(), batch_size=4), tmp_path, callback)


def test_a_run_that_an_error_ends_leaves_a_partial_record(tmp_path: Path) -> None:
    callback = MeterCallback(objective(), out=tmp_path / "elsewhere")
    with pytest.raises(NonFiniteError):
        fit(Diverging(), DataLoader(Rows(), batch_size=4), tmp_path, callback)
    record = RunRecord.load(tmp_path / "elsewhere")
    assert not record.complete
    assert len(record.steps.values) == 2
