"""What the meter is asked for, checked: contributors, weights, methods and how long a path is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from attribution.errors import BatchError, OptionError
from attribution.record import Floats

METHODS = ("path", "first_order", "second_order", "exact")
MEMORY_MODES = ("buffered", "ghost")

Every = int | Literal["run"]


@dataclass(frozen=True)
class Method:
    """How a stretch of the run is valued (DESIGN §3.2).

    Raises `OptionError` for what makes no sense.
    """

    name: str
    tolerance: float
    nodes: int | None
    permutations: int
    seed: int

    def __post_init__(self) -> None:
        if self.name not in METHODS:
            raise OptionError(f"method {self.name!r} is not one of {', '.join(METHODS)}")
        if not 0 < self.tolerance < float("inf"):
            raise OptionError(f"tolerance must be a positive number, not {self.tolerance}")
        if self.nodes is not None and (self.nodes < 2 or self.name != "path"):
            raise OptionError(
                f"nodes must be at least 2 and go with method 'path', not {self.nodes} with {self.name!r}"
            )
        if self.permutations < 4 or self.permutations % 2:
            raise OptionError(f"permutations come in pairs: use an even number from 4 on, not {self.permutations}")


def checked_every(given: Any, *, stepwise: Sequence[str] = ()) -> list[Every]:
    """How many optimizer steps a path covers: the record's own first, then those beside it.

    `stepwise` names options that need a path for each step. Raises `OptionError`.
    """
    found = list(given) if isinstance(given, (list, tuple)) else [given]
    for every in found:
        if every != "run" and (isinstance(every, bool) or not isinstance(every, int) or every < 1):
            raise OptionError(
                f"every must be a number of steps from 1 on, or 'run', or several of these, not {given!r}"
            )
    if not found or len(set(found)) != len(found):
        raise OptionError(f"every must name each length of path once, not {given!r}")
    if stepwise and found[0] != 1:
        raise OptionError(f"{' and '.join(stepwise)} need a path for each step: every=1, or first of several")
    return found


def checked_names(contributors: Sequence[str]) -> list[str]:
    """The contributors' names. Raises `OptionError` for none, an empty one, or one given twice."""
    names = [contributors] if isinstance(contributors, str) else list(contributors)
    if not names or not all(isinstance(name, str) and name for name in names) or len(set(names)) != len(names):
        raise OptionError(f"contributors must be at least one name, each once and none empty, not {names}")
    return names


def checked_weights(tasks: list[str], given: Mapping[str, float] | None) -> Floats:
    """The tasks' weights ``[tasks]``, equal by default. Raises `OptionError` for what does not sum to 1."""
    if given is None:
        return np.full(len(tasks), 1 / len(tasks))
    if set(given) != set(tasks):
        raise OptionError(f"task_weights must name the tasks {tasks}, not {list(given)}")
    weights = np.array([float(given[task]) for task in tasks])
    if not np.isfinite(weights).all() or (weights < 0).any() or abs(weights.sum() - 1) > 1e-9:
        raise OptionError(f"task_weights must be none negative and sum to 1, not {dict(given)}")
    return weights


def checked_indices(who: Tensor | Sequence[int], contributors: list[str]) -> Tensor:
    """The rows' contributors, a LongTensor ``[rows]``. Raises `BatchError`, naming the row, for what is none."""
    indices = torch.as_tensor(who).detach().cpu()
    if indices.dim() != 1 or not len(indices) or indices.is_floating_point() or indices.dtype == torch.bool:
        raise BatchError(f"who must be a LongTensor [rows], not {indices.dtype} of shape {tuple(indices.shape)}")
    wrong = ((indices < 0) | (indices >= len(contributors))).nonzero().reshape(-1)
    if len(wrong):
        row = int(wrong[0])
        raise BatchError(f"row {row}: contributor index {int(indices[row])} is not in 0..{len(contributors) - 1}")
    return indices.long()


def checked_samples(samples: Any, rows: int) -> Sequence[Any] | npt.NDArray[Any] | None:
    """The rows' identifiers, all whole numbers or all text. Raises `BatchError` for what are none, or too few."""
    if samples is None:
        return None
    found = samples.detach().cpu().numpy() if isinstance(samples, Tensor) else samples
    found = found if isinstance(found, np.ndarray) and found.ndim else list(found)
    if len(found) != rows:
        raise BatchError(f"samples must name each of the {rows} rows, not {len(found)}")
    return found
