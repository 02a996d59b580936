"""What a run record's manifest says of a metered run besides its figures."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import datetime
from importlib import metadata
from typing import Any

import numpy as np
import rfc8785
import torch
from torch import Tensor
from torch.optim import Optimizer

from attribution.errors import OptionError
from attribution.record import MANIFEST_KEYS

METER_KEYS = frozenset(
    {
        "began_at",
        "counterfactual",
        "ended_at",
        "method",
        "optimizer",
        "optimizer_steps",
        "parameters",
        "samples",
        "skipped_steps",
        "versions",
    }
)


def checked_details(given: Mapping[str, Any]) -> dict[str, Any]:
    """What the caller adds to the manifest, with torch's seed where it names no seeds.

    Raises `OptionError` for keys that the record fills itself, and for what is not JSON: now, and not when the run is
    over and cannot be saved.
    """
    if taken := sorted((METER_KEYS | MANIFEST_KEYS) & set(given)):
        raise OptionError(f"details must not hold {taken[0]!r}: the record says that itself")
    try:
        rfc8785.dumps(dict(given))
    except (rfc8785.CanonicalizationError, ValueError) as error:
        raise OptionError(f"details must be JSON (whole numbers up to 2**53 - 1): {error}") from error
    return {"seeds": {"torch": str(torch.initial_seed())}, **given}


def describe_optimizer(optimizer: Optimizer) -> dict[str, Any]:
    """The optimizer's class and the options of its groups, as JSON."""
    groups = [{key: _plain(value) for key, value in g.items() if key != "params"} for g in optimizer.param_groups]
    return {"class": type(optimizer).__name__, "groups": groups}


def versions() -> dict[str, str]:
    """The versions of what computed the values."""
    packages = {name: _version(name) for name in ("ghostledger", "torch", "numpy", "pyarrow")}
    return {"python": platform.python_version(), **packages}


def utc(moment: datetime) -> str:
    """An instant in ISO 8601, UTC."""
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        value = value.item() if value.numel() == 1 else repr(value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    exact = isinstance(value, (bool, str)) or value is None or (isinstance(value, int) and abs(value) < 2**53)
    return value if exact or (isinstance(value, float) and np.isfinite(value)) else repr(value)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"
