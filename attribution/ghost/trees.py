"""Tensors inside the nested arguments and results of a module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree


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
    return pytree.tree_map(lambda leaf: function(leaf) if isinstance(leaf, Tensor) else leaf, tree)
