"""Tensors inside the nested arguments and results of a module."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from torch import Tensor


def tensors_in(tree: Any) -> list[Tensor]:
    """All tensors in nested lists, tuples, mappings and dataclasses, in order."""
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, (list, tuple)):
        return [tensor for item in tree for tensor in tensors_in(item)]
    if isinstance(tree, Mapping):
        return [tensor for item in tree.values() for tensor in tensors_in(item)]
    if is_dataclass(tree) and not isinstance(tree, type):
        return [tensor for field in fields(tree) for tensor in tensors_in(getattr(tree, field.name))]
    return []


def map_tensors(function: Callable[[Tensor], Tensor], tree: Any) -> Any:
    """The same nesting with `function` applied to every tensor; what is not a tensor stays what it is."""
    if isinstance(tree, Tensor):
        return function(tree)
    if not tensors_in(tree):
        return tree
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(map_tensors(function, item) for item in tree))
    if isinstance(tree, (list, tuple)):
        return type(tree)(map_tensors(function, item) for item in tree)
    if isinstance(tree, Mapping):
        mapped: Any = copy.copy(tree)  # keeps the kind: batch encodings, ordered dictionaries, model outputs
        for key, item in tree.items():
            mapped[key] = map_tensors(function, item)
        return mapped
    return replace(tree, **{field.name: map_tensors(function, getattr(tree, field.name)) for field in fields(tree)})
