"""Probes: repetitions of one call, each with some of its rows poisoned, that show which position depends on which."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import combinations, islice
from math import comb
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from attribution.ghost.calls import ModuleCall
from attribution.ghost.findings import CallFindings, Finding, Mixed
from attribution.ghost.hooks import Hooks
from attribution.ghost.trees import map_tensors, tensors_in


def code_words(rows: int) -> Tensor:
    """Distinct words of constant weight, bool ``[bits, rows]``, with as few bits as it takes."""
    bits = 1
    while comb(bits, bits // 2) < rows or bits < 2:
        bits += 1
    words = torch.zeros(bits, rows, dtype=torch.bool)
    for row, chosen in enumerate(islice(combinations(range(bits), bits // 2), rows)):
        words[list(chosen), row] = True
    return words


@dataclass
class Seen:
    """What one tensor was in the undisturbed repetition, and the words that its positions spelled since."""

    baseline: Tensor
    words: list[Tensor] = field(default_factory=list)  # one [length of the axis] of integers an axis
    touched: bool = False

    def compare(self, tensor: Tensor, bit: int) -> Tensor | None:
        """Note what differs in probe `bit`, and return it; None where the shape does."""
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


class Poison(Protocol):
    """How the rows of one probe are changed."""

    def given(self, place: int, tensor: Tensor, rows: Tensor) -> Tensor:
        """The call's input tensor number `place`, changed for the poisoned `rows` (bool ``[rows]``)."""

    def looked_up(self, tokens: Tensor, changed: Tensor | None, output: Tensor, rows: Tensor) -> Tensor | None:
        """What an embedding is to return instead of `output`; `changed` says which of its `tokens` are."""

    def changed(self, output: Tensor, where: Tensor) -> Tensor:
        """`output`, changed wherever `where` (broadcast to its shape) holds."""


def code_of(words: Tensor) -> list[int]:
    """Each row's word, of ``[bits, rows]``, as an integer."""
    codes: list[int] = (words.long() << torch.arange(len(words)).unsqueeze(1)).sum(0).tolist()
    return codes


@dataclass
class _Watched:
    name: str
    outputs: list[Seen]
    inputs: list[Seen]


class Probe:
    """Observes the repetitions of one call: the undisturbed one, then one for each bit of the rows' `words`."""

    def __init__(
        self,
        hooks: Hooks,
        root: ModuleCall,
        words: Tensor,
        poison: Poison,
        watched: Callable[[nn.Module], bool],
        expand: Callable[[nn.Module, Any], tuple[Any, int] | None],
    ) -> None:
        self._hooks, self._root, self._watched, self._expand = hooks, root, watched, expand
        self._words, self._poison = words, poison
        self._bit: int | None = None
        self._calls: list[_Watched] = []
        self._tokens: list[Seen] = []
        self._next_call = self._next_tokens = 0
        self._diverged: set[str] = set()

    def run(self, finding: Callable[[Seen], Finding]) -> list[CallFindings] | None:
        """What `finding` makes of the tensors of every watched call, in call order; None if poison breaks the call."""
        try:
            self._repeat()
        except (RuntimeError, ValueError, IndexError):
            return None  # an index or a length was changed to one that cannot be
        return [self._found(call, finding) for call in self._calls]

    def _repeat(self) -> None:
        with torch.no_grad(), self._hooks.observed_by(self):
            for bit in (None, *range(len(self._words))):
                self._bit, self._next_call, self._next_tokens = bit, 0, 0
                arguments, keywords = self._root.arguments, self._root.keywords
                if bit is not None:
                    arguments, keywords = self._poisoned(self._words[bit])
                with self._root.repeated(self._hooks.model):
                    self._root.module(*arguments, **keywords)

    def _found(self, call: _Watched, finding: Callable[[Seen], Finding]) -> CallFindings:
        def of(seen: Seen) -> Finding:
            return Mixed() if call.name in self._diverged else finding(seen)

        shapes = [tuple(seen.baseline.shape) for seen in call.outputs]
        return CallFindings(call.name, shapes, [of(seen) for seen in call.outputs], [of(seen) for seen in call.inputs])

    def _poisoned(self, rows: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
        places = iter(range(len(self._root.inputs())))
        tree: tuple[tuple[Any, ...], dict[str, Any]] = map_tensors(
            lambda tensor: self._poison.given(next(places), tensor, rows), (self._root.arguments, self._root.keywords)
        )
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
                replaced = self._poison.changed(replaced, along(axis, self._words[self._bit], replaced))
        if self._watched(module):
            self._compare(module, (arguments, keywords), output if replaced is None else replaced)
        return replaced

    def _embedded(self, module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> Any:
        tokens = _lookups(module, arguments, keywords)
        if tokens is None or not isinstance(output, Tensor):
            return None
        if self._bit is None:
            self._tokens.append(Seen(tokens.clone()))
            return None
        seen = self._tokens[self._next_tokens] if self._next_tokens < len(self._tokens) else None
        self._next_tokens += 1
        changed = seen.compare(tokens, self._bit) if seen is not None else None
        return self._poison.looked_up(tokens, changed, output, self._words[self._bit])

    def _compare(self, module: nn.Module, inputs: Any, output: Any) -> None:
        name = self._hooks.names[module]
        outputs, given = tensors_in(output), tensors_in(inputs)
        if self._bit is None:
            self._calls.append(_Watched(name, [Seen(t.clone()) for t in outputs], [Seen(t.clone()) for t in given]))
            return
        call = self._calls[self._next_call] if self._next_call < len(self._calls) else None
        self._next_call += 1
        if call is None or call.name != name or (len(call.outputs), len(call.inputs)) != (len(outputs), len(given)):
            self._diverged.add(name)
            return
        for seen, tensor in zip(call.outputs + call.inputs, outputs + given, strict=True):
            if seen.compare(tensor, self._bit) is None:
                self._diverged.add(name)


def _lookups(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Tensor | None:
    """The indices whose shape, with features behind, is that of what `module` looks up."""
    if isinstance(module, nn.Embedding):
        return tensors_in((arguments, keywords))[0]
    if isinstance(module, nn.EmbeddingBag):
        offsets = keywords.get("offsets", arguments[1] if len(arguments) > 1 else None)
        return offsets if isinstance(offsets, Tensor) and not module.include_last_offset else None
    return None


def along(axis: int, rows: Tensor, tensor: Tensor) -> Tensor:
    """`rows` along the given axis of `tensor`, to be broadcast to its shape."""
    shape = [1] * tensor.dim()
    shape[axis] = -1
    return rows.to(tensor.device).reshape(shape)


def other(tensor: Tensor) -> Tensor:
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
