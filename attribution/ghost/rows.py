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
from dataclasses import dataclass, field
from itertools import combinations, islice
from math import comb
from typing import Any

import torch
from torch import Tensor, nn

from attribution.errors import BatchError, RowAxisError
from attribution.ghost.calls import ModuleCall
from attribution.ghost.hooks import Hooks
from attribution.ghost.partition import Layout
from attribution.ghost.trees import map_tensors, tensors_in


@dataclass(frozen=True)
class Rowless:
    """A tensor that depends on no row of the batch, such as position embeddings looked up once for all."""


@dataclass(frozen=True)
class Mixed:
    """A tensor in which no axis separates the rows."""


Finding = Layout | Rowless | Mixed


@dataclass(frozen=True)
class CallFindings:
    """What was found for one call: its output tensors' and its input tensors' row axes."""

    name: str
    shapes: list[tuple[int, ...]]
    outputs: list[Finding]
    inputs: list[Finding]


def code_words(rows: int) -> Tensor:
    """Distinct words of constant weight, bool ``[bits, rows]``, with as few bits as it takes."""
    bits = 1
    while comb(bits, bits // 2) < rows or bits < 2:
        bits += 1
    words = torch.zeros(bits, rows, dtype=torch.bool)
    for row, chosen in enumerate(islice(combinations(range(bits), bits // 2), rows)):
        words[list(chosen), row] = True
    return words


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
) -> list[CallFindings]:
    """Repeat the call `root` under probes and find the row axes of all calls of `watched` modules, in call order.

    Where inputs have several axes as long as the batch, all readings are probed in turn until one leaves the rows
    apart. For a call of the whole model the first axis comes first, by convention; for a part that the user's code
    calls on its own nothing says so, and two readings that both leave the rows apart are refused. `stated_axis`
    decides it. `expand(module, output)` gives the output that stands in for a rowless one, with its axis of rows.

    Raises `BatchError` if no input has an axis as long as the batch, `RowAxisError` if that axis stays open.
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
        found = _Probe(hooks, root, rows, watched, expand).run(reading)
        first = first or found
        if not any(isinstance(finding, Mixed) for call in found for finding in call.outputs):
            apart.append(found)
            if root.module is hooks.model or rows == 1:
                break
    if len(apart) > 1:
        raise RowAxisError(root.name, f"its input could hold the {rows} rows along several axes")
    return apart[0] if apart else first or []


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


@dataclass
class _Seen:
    """What one tensor was in the undisturbed repetition, and the words that its positions spelled since."""

    baseline: Tensor
    words: list[Tensor] = field(default_factory=list)  # one [length of the axis] of integers an axis
    touched: bool = False

    def compare(self, tensor: Tensor, bit: int) -> Tensor | None:
        if tensor.shape != self.baseline.shape:
            return None
        changed = tensor != self.baseline
        if tensor.is_floating_point() or tensor.is_complex():
            changed &= ~(torch.isnan(tensor) & torch.isnan(self.baseline))
        if not self.words:
            self.words = [torch.zeros(length, dtype=torch.int64) for length in tensor.shape]
        self.touched = self.touched or bool(changed.any())
        for axis in range(tensor.dim()):
            others = [other for other in range(tensor.dim()) if other != axis]
            along = changed.any(dim=others) if others else changed
            self.words[axis] |= along.cpu().long() << bit
        return changed

    def finding(self, words: Tensor) -> Finding:
        bits, rows = words.shape
        spelled = {int((words[:, row].long() << torch.arange(bits)).sum()): row for row in range(rows)}
        if not self.touched:
            return Rowless()
        found: list[Layout] = []
        for axis, word in enumerate(self.words):
            if all(value == 0 or value in spelled for value in word.tolist()):
                positions = torch.tensor([spelled.get(value, -1) for value in word.tolist()])
                found.append(Layout(axis, positions).completed(rows))
        return next((layout for layout in found if layout.regular(rows)), found[0]) if found else Mixed()


@dataclass
class _Watched:
    name: str
    outputs: list[_Seen]
    inputs: list[_Seen]


class _Probe:
    """Observes the repetitions of one call: the undisturbed one, then one for each bit of the code words."""

    def __init__(
        self,
        hooks: Hooks,
        root: ModuleCall,
        rows: int,
        watched: Callable[[nn.Module], bool],
        expand: Callable[[nn.Module, Any], tuple[Any, int] | None],
    ) -> None:
        self._hooks, self._root, self._watched, self._expand = hooks, root, watched, expand
        self._words = code_words(rows)
        self._bit: int | None = None
        self._calls: list[_Watched] = []
        self._tokens: list[_Seen] = []
        self._next_call = self._next_tokens = 0
        self._diverged: set[str] = set()

    def run(self, axes: Sequence[int | None]) -> list[CallFindings]:
        with torch.no_grad(), self._hooks.observed_by(self):
            for bit in (None, *range(len(self._words))):
                self._bit, self._next_call, self._next_tokens = bit, 0, 0
                arguments, keywords = self._root.arguments, self._root.keywords
                if bit is not None:
                    arguments, keywords = self._poisoned(axes, self._words[bit])
                with self._root.repeated(self._hooks.model):
                    self._root.module(*arguments, **keywords)
        return [self._found(call) for call in self._calls]

    def _found(self, call: _Watched) -> CallFindings:
        def finding(seen: _Seen) -> Finding:
            return Mixed() if call.name in self._diverged else seen.finding(self._words)

        shapes = [tuple(seen.baseline.shape) for seen in call.outputs]
        return CallFindings(call.name, shapes, [finding(s) for s in call.outputs], [finding(s) for s in call.inputs])

    def _poisoned(self, axes: Sequence[int | None], poisoned_rows: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
        axis_of = {id(tensor): axis for tensor, axis in zip(self._root.inputs(), axes, strict=True)}

        def poison(tensor: Tensor) -> Tensor:
            axis = axis_of.get(id(tensor))
            if axis is None:
                return tensor
            shape = [1] * tensor.dim()
            shape[axis] = -1
            return torch.where(poisoned_rows.to(tensor.device).reshape(shape), _other(tensor), tensor)

        tree: tuple[tuple[Any, ...], dict[str, Any]] = map_tensors(poison, (self._root.arguments, self._root.keywords))
        return tree

    def before(self, module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        """Nothing to do."""

    def after(self, module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> Any:
        """Poison what embeddings look up, stand in for rowless outputs, and compare with the undisturbed run."""
        replaced = self._embedded(module, arguments, keywords, output)
        expanded = self._expand(module, output if replaced is None else replaced)
        if expanded is not None:
            replaced, axis = expanded
            if self._bit is not None:
                shape = [1] * replaced.dim()
                shape[axis] = -1
                replaced = replaced.masked_fill(self._words[self._bit].to(replaced.device).reshape(shape), torch.nan)
        if self._watched(module):
            self._compare(module, (arguments, keywords), output if replaced is None else replaced)
        return replaced

    def _embedded(self, module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> Any:
        if not isinstance(module, nn.Embedding) or not isinstance(output, Tensor):
            return None
        tokens = tensors_in((arguments, keywords))[0]
        if self._bit is None:
            self._tokens.append(_Seen(tokens.clone()))
            return None
        seen = self._tokens[self._next_tokens] if self._next_tokens < len(self._tokens) else None
        self._next_tokens += 1
        changed = seen.compare(tokens, self._bit) if seen is not None else None
        return None if changed is None else output.masked_fill(changed.unsqueeze(-1), torch.nan)

    def _compare(self, module: nn.Module, inputs: Any, output: Any) -> None:
        name = self._hooks.names[module]
        outputs, given = tensors_in(output), tensors_in(inputs)
        if self._bit is None:
            self._calls.append(_Watched(name, [_Seen(t.clone()) for t in outputs], [_Seen(t.clone()) for t in given]))
            return
        call = self._calls[self._next_call] if self._next_call < len(self._calls) else None
        self._next_call += 1
        if call is None or call.name != name or (len(call.outputs), len(call.inputs)) != (len(outputs), len(given)):
            self._diverged.add(name)
            return
        for seen, tensor in zip(call.outputs + call.inputs, outputs + given, strict=True):
            if seen.compare(tensor, self._bit) is None:
                self._diverged.add(name)


def _other(tensor: Tensor) -> Tensor:
    """`tensor` with every element made different: NaN, the other truth value, or its next value that occurs."""
    if tensor.is_floating_point() or tensor.is_complex():
        return torch.full_like(tensor, torch.nan)
    if tensor.dtype == torch.bool:
        return ~tensor
    values = torch.unique(tensor)
    if len(values) == 1:  # nothing else occurs: zero is valid wherever one is, and one mostly where zero is
        return torch.where(tensor == 0, torch.ones_like(tensor), torch.zeros_like(tensor))
    places = torch.searchsorted(values, tensor)
    following: Tensor = values[(places + 1) % len(values)]
    return following
