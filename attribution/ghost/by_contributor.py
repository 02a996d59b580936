"""Proof by contributor, where rows mix with one another: documents packed into one axis, a contributor for each token.

All rows of a contributor are poisoned together, and every position must spell the word of one contributor. Here NaN
is no poison: what a mask excludes is multiplied by zero, and 0 × NaN is NaN. So what is looked up, and floating point
inputs, take other finite values instead; what a mask excludes then changes nothing, to the last bit. Whatever a
finite change of all its values does not change at all depends on it neither in this batch nor has a gradient there;
of another batch that says nothing, so the proof is made again for each.

What else the model was given (position indices, document indices, masks) is its structure and stays as it is. Where
embeddings look up as many positions as there are rows, position i is taken for row i's, and that is proved with the
rest: were it another contributor's, some position behind it would spell two words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from attribution.ghost.calls import ModuleCall
from attribution.ghost.findings import CallFindings, Finding, Mixed, Rowless, mixed
from attribution.ghost.hooks import Hooks
from attribution.ghost.partition import Layout
from attribution.ghost.probes import Probe, Seen, along, code_of, code_words, other
from attribution.ghost.rows import row_axes_of


def prove_contributors(
    hooks: Hooks,
    root: ModuleCall,
    who: Tensor,
    watched: Callable[[nn.Module], bool],
    expand: Callable[[nn.Module, Any], tuple[Any, int] | None],
    stated_axis: int | None = None,
) -> list[CallFindings] | None:
    """Repeat the call `root` under probes and find the contributors of all calls of `watched` modules, in call order.

    Row i, along the axis of the inputs that is as long as `who`, is contributor ``who[i]``'s. Other tokens are tried
    first; where those would be another structure (documents found by their first token, say), only what is looked up
    for them changes. Returns the findings in which fewest outputs mix (none, if only a contributor's own rows do), or
    None if nothing of what the call is given is known to be the rows'.
    """
    present, owner = torch.unique(who, return_inverse=True)
    words = code_words(len(present))[:, owner]
    best: list[CallFindings] | None = None
    for tokens_too in (True, False):
        poison = _Poison(root, len(who), stated_axis, tokens_too)
        found = Probe(hooks, root, words, poison, watched, expand).run(partial(_finding, words))
        if found is not None and poison.anchored and (best is None or mixed(found) < mixed(best)):
            best = [replace(call, of_this_batch=True) for call in found]
            if not mixed(best):
                break
    return best


class _Poison:
    """Other finite values; `anchored` once something that certainly belongs to the rows has been changed."""

    def __init__(self, root: ModuleCall, rows: int, stated_axis: int | None, tokens_too: bool) -> None:
        self.anchored = False
        self._inputs = root.inputs()
        self._axes = [_only(_axes(tensor, rows, stated_axis)) for tensor in self._inputs]
        if all(axis is None for axis in self._axes):
            self._axes = [next(iter(_axes(tensor, rows, stated_axis)), None) for tensor in self._inputs]
        self._tokens = [i for i, axis in enumerate(self._axes) if axis is not None and _integer(self._inputs[i])]
        self._changed_tokens = self._tokens[:1] if tokens_too else []

    def given(self, place: int, tensor: Tensor, rows: Tensor) -> Tensor:
        axis = self._axes[place]
        if axis is not None and tensor.is_floating_point():
            self.anchored = True
            return self.changed(tensor, along(axis, rows, tensor))
        if axis is not None and place in self._changed_tokens:
            self.anchored = True
            return torch.where(along(axis, rows, tensor), other(tensor), tensor)
        return tensor

    def looked_up(self, tokens: Tensor, changed: Tensor | None, output: Tensor, rows: Tensor) -> Tensor | None:
        if changed is not None and bool(changed.any()):
            return self.changed(output, changed.unsqueeze(-1))
        axis = _only(row_axes_of(tokens, len(rows)))
        if axis is None:
            return None
        given = (self._inputs[place].reshape(-1) for place in self._tokens)
        self.anchored = self.anchored or any(torch.equal(tokens.reshape(-1), values) for values in given)
        return self.changed(output, along(axis, rows, tokens).unsqueeze(-1))

    def changed(self, output: Tensor, where: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(output.numel())
        sizes = 0.5 + torch.rand(output.shape, generator=generator)
        signs = 2.0 * torch.randint(0, 2, output.shape, generator=generator) - 1
        scale = float(output.float().square().mean().sqrt()) or 1.0
        noise = (scale * sizes * signs).to(output.device, output.dtype)
        return torch.where(where, output + noise, output)


def _axes(tensor: Tensor, rows: int, stated_axis: int | None) -> list[int]:
    axes = row_axes_of(tensor, rows)
    return axes if stated_axis is None else [axis for axis in axes if axis == stated_axis % max(tensor.dim(), 1)]


def _only(axes: list[int]) -> int | None:
    return axes[0] if len(axes) == 1 else None  # an input with two axes of rows is a mask, not rows


def _integer(tensor: Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)


def _finding(words: Tensor, seen: Seen) -> Finding:
    if not seen.touched:
        return Rowless()
    codes = code_of(words)
    for axis, word in enumerate(seen.words):
        spelled = word.tolist()
        if len(spelled) == len(codes) and all(value in (0, code) for value, code in zip(spelled, codes, strict=True)):
            return Layout(axis, torch.arange(len(codes)))
    row_of = {code: row for row, code in reversed(list(enumerate(codes)))}
    for axis, word in enumerate(seen.words):
        if all(value == 0 or value in row_of for value in word.tolist()):
            return Layout(axis, torch.tensor([row_of.get(value, -1) for value in word.tolist()]))
    return Mixed()
