"""What an optimizer step is divided in: large parameters a stretch at a time, small ones side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from attribution.errors import OptionError
from attribution.ghost.gradients import DividedGradient
from attribution.parameters import Bundle, ParameterSpace, Place
from attribution.updates import Slot, UpdateRule

STRETCH = 1 << 17  # elements divided at a time: few enough that all parts of them stay in the cache

Where = slice | Tensor  # which elements of the flat vector


@dataclass(frozen=True)
class Piece:
    """Elements of the flat vector that are divided together: a stretch of one parameter, or several small ones."""

    slot: Slot
    where: Where
    places: Sequence[tuple[Place, slice]]  # whose elements they are, and where in the slot


class Slots:
    """An optimizer's parameters in slots, with the parts of its linear state that are held between steps."""

    def __init__(
        self, optimizer: Optimizer, rule: UpdateRule, space: ParameterSpace, gradient: DividedGradient
    ) -> None:
        self._optimizer, self._rule, self._space, self._gradient = optimizer, rule, space, gradient
        self._parts = gradient.parts.count
        self._memory: dict[str, Tensor] = {}
        self._beside: dict[int, Tensor] = {}  # of a bundle, by its id; `_memory` has views of it
        self._had_memory: dict[str, bool] = {}
        self._earlier: dict[str, dict[str, Any]] = {}
        self._seen: set[str] = set()

    @property
    def buffers(self) -> int:
        """How many buffers of [parts, P] are held or may come to be."""
        return int(any(self._rule.remembers(group) for _, group in self._grouped()))

    def before_step(self) -> None:
        """Note what the optimizer already remembers of each parameter.

        What it remembered before the meter came belongs to the house.
        """
        for place, group in self._grouped():
            state = self._optimizer.state.get(place.parameter, {})
            held = self._rule.memory(state)
            self._had_memory[place.name] = held is not None
            if held is not None and place.name not in self._seen:
                self._remembered(place)[-1].copy_(held.detach().reshape(-1))
            if held is not None or self._rule.remembers(group):
                self._seen.add(place.name)
            kept = [(name, state[name]) for name in self._rule.keeps(group) if name in state]
            self._earlier[place.name] = {n: v.clone() if isinstance(v, Tensor) else v for n, v in kept}

    def still(self) -> list[Place]:
        """The parameters that the step must not have moved: they have no gradient."""
        return [place for place, _ in self._grouped() if place.parameter.grad is None]

    def pieces(self, start: Tensor, end: Tensor, most: int | None = None) -> Iterator[Piece]:
        """All that the step from `start` to `end` ``[P]`` may have moved; each piece must be divided once.

        With `most`, no piece is of several parameters, or has more elements than that.
        """
        groups = {place.name: group for place, group in self._grouped() if place.parameter.grad is not None}
        if most is None and not self._rule.whole:
            for bundle in self._space.bundles:
                if (piece := self._bundle(bundle, groups, start, end)) is not None:
                    yield piece
                    for place in bundle.places:
                        del groups[place.name]
        for place in self._space.places:
            if place.name in groups:
                yield from self._stretches(place, groups[place.name], start, end, STRETCH if most is None else most)

    def _bundle(
        self, bundle: Bundle, groups: Mapping[str, Mapping[str, Any]], start: Tensor, end: Tensor
    ) -> Piece | None:
        """The parameters of `bundle` together, if they have all been treated alike."""
        places, group = bundle.places, groups.get(bundle.places[0].name)
        fresh = {not self._had_memory.get(place.name, False) for place in places}
        if group is None or len(fresh) > 1 or any(groups.get(place.name) is not group for place in places):
            return None
        after = _joined(places, [self._optimizer.state.get(place.parameter, {}) for place in places])
        earlier = _joined(places, [self._earlier.get(place.name, {}) for place in places])
        if after is None or earlier is None:
            return None
        memory = None
        if self._rule.remembers(group):
            self._remembered(places[0])
            memory = self._beside[id(bundle)]
        slot = Slot(
            options=group,
            shape=(bundle.size,),
            start=start[bundle.index],
            end=end[bundle.index],
            gradient=self._gradient.beside(bundle),
            memory=memory,
            fresh=fresh.pop(),
            span=slice(0, bundle.size),
            after=after,
            earlier=earlier,
        )
        return Piece(slot, bundle.index, [(place, bundle.columns[place.name]) for place in places])

    def _stretches(
        self, place: Place, group: Mapping[str, Any], start: Tensor, end: Tensor, most: int
    ) -> Iterator[Piece]:
        remembered = self._remembered(place) if self._rule.remembers(group) else None
        length = place.stop - place.start
        stretch = length if self._rule.whole else most
        for low in range(0, length, max(stretch, 1)):
            span = slice(low, min(low + stretch, length))
            where = slice(place.start + span.start, place.start + span.stop)
            slot = Slot(
                options=group,
                shape=tuple(place.parameter.shape),
                start=start[where],
                end=end[where],
                gradient=self._gradient.spans(place, span),
                memory=None if remembered is None else remembered[:, span],
                fresh=not self._had_memory.get(place.name, False),
                span=span,
                after=self._optimizer.state.get(place.parameter, {}),
                earlier=self._earlier.get(place.name, {}),
            )
            yield Piece(slot, where, [(place, slice(0, span.stop - span.start))])

    def _grouped(self) -> list[tuple[Place, dict[str, Any]]]:
        found = []
        for group in self._optimizer.param_groups:
            for parameter in group["params"]:
                place = self._space.place(parameter)
                if place is None:
                    raise OptionError("a parameter was added to the optimizer after the meter was made: make it anew")
                found.append((place, group))
        return found

    def _remembered(self, place: Place) -> Tensor:
        if place.name not in self._memory:
            bundle = next((b for b in self._space.bundles if place.name in b.columns), None)
            size = place.stop - place.start if bundle is None else bundle.size
            tensor = torch.zeros(self._parts, size, dtype=self._space.dtype, device=self._space.device)
            if bundle is None:
                self._memory[place.name] = tensor
            else:
                self._beside[id(bundle)] = tensor
                self._memory |= {name: tensor[:, columns] for name, columns in bundle.columns.items()}
        return self._memory[place.name]


def _joined(places: Sequence[Place], states: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The state of several parameters as of one: tensors of their shape one after another, all else if it is the same.

    None if there is none, because something differs.
    """
    if any(state.keys() != states[0].keys() for state in states):
        return None
    found: dict[str, Any] = {}
    for name in states[0]:
        values = [state[name] for state in states]
        if all(isinstance(v, Tensor) and v.shape == p.parameter.shape for v, p in zip(values, places, strict=True)):
            found[name] = torch.cat([value.detach().reshape(-1) for value in values])
        elif len({_plain(value) for value in values}) == 1:
            found[name] = values[0]
        else:
            return None
    return found


def _plain(value: Any) -> Any:
    """`value` for comparing: a number, or what nothing else is equal to."""
    if isinstance(value, Tensor):
        return float(value) if value.numel() == 1 else id(value)
    return value if isinstance(value, int | float | str | None) else id(value)
