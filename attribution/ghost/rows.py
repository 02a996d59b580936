"""Proof of the row axes: which position of each layer's output depends on which row of the batch.

The reconciliation cannot see a gradient credited to the wrong contributor, so the axis is never guessed. Every row
gets a code word of m bits, w of them set (constant weight, so that no word is contained in the union of others). In
probe j the rows whose word has bit j are poisoned: floating point inputs, and what embeddings look up for changed
tokens, become NaN, and integer inputs take another of their values. Whatever changes in a layer's output depends on
a poisoned row; over the m probes each position spells the word of its row. A position that spells no single word
mixes rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from attribution.errors import BatchError, RowAxisError
from attribution.ghost.calls import ModuleCall
from attribution.ghost.findings import CallFindings, Finding, Mixed, Rowless, mixed
from attribution.ghost.hooks import Hooks
from attribution.ghost.partition import Layout
from attribution.ghost.probes import Probe, Seen, along, code_of, code_words, other

__all__ = ["CallFindings", "Finding", "Mixed", "Rowless", "prove_rows", "row_axes_of"]


def row_axes_of(tensor: Tensor, rows: int) -> list[int]:
    """The axes of an input that could hold the batch's rows: those of that length."""
    return [axis for axis, length in enumerate(tensor.shape) if length == rows]


def prove_rows(
    hooks: Hooks,
    root: ModuleCall,
    rows: int,
    watched: Callable[[nn.Module], bool],
    expand: Callable[[nn.Module, Any], tuple[Any, int] | None],
    stated_axis: int | None = None,
) -> list[CallFindings] | None:
    """Repeat the call `root` under probes and find the row axes of all calls of `watched` modules, in call order.

    Where inputs have several axes as long as the batch, all readings are probed in turn until one leaves the rows
    apart. For a call of the whole model the first axis comes first, by convention; for a part that the user's code
    calls on its own nothing says so, and two readings that both leave the rows apart are refused. `stated_axis`
    decides it. `expand(module, output)` gives the output that stands in for a rowless one, with its axis of rows.

    None if the call cannot be repeated with other inputs at all. Raises `BatchError` if no input has an axis as long
    as the batch, `RowAxisError` if that axis stays open.
    """
    candidates = [row_axes_of(tensor, rows) for tensor in root.inputs()]
    if stated_axis is not None:
        candidates = [[a for a in axes if a == stated_axis % max(t.dim(), 1)] for axes, t in _zip(candidates, root)]
    if not any(candidates):
        shapes = [tuple(t.shape) for t in root.inputs()]
        raise BatchError(
            f"module {root.name or '(the model)'!r}: none of its inputs {shapes} has an axis of {rows} rows, "
            "the length of the contributor indices: give one index a row"
        )
    readings = _readings(candidates)
    first: list[CallFindings] | None = None
    apart: list[list[CallFindings]] = []
    for reading in readings:
        words = code_words(rows)
        found = Probe(hooks, root, words, _Poison(reading), watched, expand).run(partial(_finding, words))
        if found is None:
            continue
        first = first or found
        if not mixed(found):
            apart.append(found)
            if root.module is hooks.model or rows == 1:
                break
    if len(apart) > 1:
        raise RowAxisError(
            root.name,
            f"its input could hold the {rows} rows along several axes (meter.batch(..., axis=...) says along which)",
        )
    return apart[0] if apart else first


def _readings(candidates: list[list[int]]) -> list[list[int | None]]:
    """Which axis of each input may hold the rows: the first, the next, …; last, only the first input has rows."""
    readings: list[list[int | None]] = []
    for choice in range(max(len(axes) for axes in candidates)):
        readings.append([axes[min(choice, len(axes) - 1)] if axes else None for axes in candidates])
    leading = next(index for index, axes in enumerate(candidates) if axes)
    alone: list[int | None] = [axes[0] if index == leading else None for index, axes in enumerate(candidates)]
    return readings if alone in readings else [*readings, alone]


def _zip(candidates: list[list[int]], root: ModuleCall) -> list[tuple[list[int], Tensor]]:
    return list(zip(candidates, root.inputs(), strict=True))


class _Poison:
    """NaN for floating point numbers and for what changed tokens look up; another of their values for integers."""

    def __init__(self, axes: Sequence[int | None]) -> None:
        self._axes = axes

    def given(self, place: int, tensor: Tensor, rows: Tensor) -> Tensor:
        axis = self._axes[place]
        return tensor if axis is None else torch.where(along(axis, rows, tensor), other(tensor), tensor)

    def looked_up(self, tokens: Tensor, changed: Tensor | None, output: Tensor, rows: Tensor) -> Tensor | None:
        return None if changed is None else self.changed(output, changed.unsqueeze(-1))

    def changed(self, output: Tensor, where: Tensor) -> Tensor:
        return output.masked_fill(where, torch.nan)


def _finding(words: Tensor, seen: Seen) -> Finding:
    rows = words.shape[1]
    spelled = {code: row for row, code in enumerate(code_of(words))}
    if not seen.touched:
        return Rowless()
    found: list[Layout] = []
    for axis, word in enumerate(seen.words):
        if all(value == 0 or value in spelled for value in word.tolist()):
            positions = torch.tensor([spelled.get(value, -1) for value in word.tolist()])
            found.append(Layout(axis, positions).completed(rows))
    return next((layout for layout in found if layout.regular(rows)), found[0]) if found else Mixed()
