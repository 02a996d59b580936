"""What each contributor did to the parameters over a whole run: ``θ_T = θ_0 + Σ_c D_c + house``, and the file of it.

A safetensors file: ``start`` ``[P]``, ``contributors`` ``[K, P]`` and ``house`` ``[P]``, the parameters one after
another; its metadata names contributors and parameters. Where it belongs to a record, the manifest pins its SHA-256.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from attribution.errors import OptionError, RecordError

FORMAT = "ghostledger-displacements/1"
FILE = "displacements.safetensors"

_ROUNDING = 1e3  # units of rounding by which the parts may miss the way that they add up to


@dataclass(frozen=True)
class Displacements:
    """A run's start and the way that each contributor, and the house, moved the parameters; `P` elements each.

    Raises `RecordError` where the parts do not fit together.
    """

    contributors: list[str]
    parameters: Mapping[str, tuple[int, ...]]  # shapes, by the model's names and in its order
    start: Tensor  # [P]
    parts: Tensor  # [contributors, P]
    house: Tensor  # [P]

    def __post_init__(self) -> None:
        size = sum(math.prod(shape) for shape in self.parameters.values())
        wanted = [(size,), (len(self.contributors), size), (size,)]
        found = [tuple(tensor.shape) for tensor in (self.start, self.parts, self.house)]
        if found != wanted:
            raise RecordError(f"displacements of shapes {found} do not fit {wanted}")

    @property
    def end(self) -> Tensor:
        """The parameters with which the run ended, ``[P]``, to rounding."""
        return self.start + self.parts.sum(dim=0) + self.house

    def of(self, contributor: str) -> Tensor:
        """The contributor's displacement ``[P]``. Raises `OptionError` for a name that was no player."""
        if contributor not in self.contributors:
            raise OptionError(f"{contributor!r} took no part in the run, only {', '.join(self.contributors)}")
        return self.parts[self.contributors.index(contributor)]

    def check_end(self, end: Tensor) -> None:
        """Raise `RecordError` unless the parts lead from the start to `end` ``[P]``, to rounding."""
        size = self.parts.abs().sum(dim=0) + self.house.abs() + self.start.abs()
        missing, allowed = (self.end - end).norm(), _ROUNDING * torch.finfo(self.start.dtype).eps * size.norm()
        if not bool(missing <= allowed):
            raise RecordError(f"the run's displacements miss its last parameters by {float(missing):.2g}")

    def apply(self, model: nn.Module, flat: Tensor) -> None:
        """Write the parameters `flat` ``[P]`` into `model`. Raises `OptionError` unless its names and shapes fit."""
        own = dict(model.named_parameters())
        missing = [name for name, shape in self.parameters.items() if name not in own or own[name].shape != shape]
        if missing:
            raise OptionError(f"the model has no parameter {missing[0]!r} of shape {self.parameters[missing[0]]}")
        offset = 0
        with torch.no_grad():
            for name, shape in self.parameters.items():
                size = math.prod(shape)
                own[name].copy_(flat[offset : offset + size].reshape(shape))
                offset += size

    def flat(self, model: nn.Module) -> Tensor:
        """The same parameters of `model` ``[P]``. Raises `OptionError` for a model without one of them."""
        own = dict(model.named_parameters())
        if absent := sorted(set(self.parameters) - set(own)):
            raise OptionError(f"the model has no parameter {absent[0]!r}")
        return torch.cat([own[name].detach().cpu().reshape(-1) for name in self.parameters]).to(self.start.dtype)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file `path`, whole or not at all. Raises `RecordError` if it is there or cannot be written."""
        from safetensors.torch import save_file

        target = Path(path)
        if target.exists():
            raise RecordError(f"{target}: exists; choose another file for the displacements")
        metadata = {
            "format": FORMAT,
            "contributors": json.dumps(self.contributors),
            "parameters": json.dumps([[name, list(shape)] for name, shape in self.parameters.items()]),
        }
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        tensors = {"start": self.start, "contributors": self.parts, "house": self.house}
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part, metadata)
            part.replace(target)
        except OSError as error:
            raise RecordError(f"{target}: the displacements cannot be written: {error}") from error
        finally:
            part.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Displacements:
        """Read the file `path`. Raises `RecordError` for one that holds no displacements."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                stated: dict[str, Any] = file.metadata() or {}
                if stated.get("format") != FORMAT:
                    raise RecordError(f"{path}: holds no displacements of a run")
                return cls(
                    contributors=_names(json.loads(stated["contributors"])),
                    parameters={name: tuple(shape) for name, shape in json.loads(stated["parameters"])},
                    start=file.get_tensor("start"),
                    parts=file.get_tensor("contributors"),
                    house=file.get_tensor("house"),
                )
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise RecordError(f"{path}: no displacements can be read from it: {error!r}") from error


def _names(given: Sequence[Any]) -> list[str]:
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise ValueError(f"contributors are names, not {given!r}")
    return given
