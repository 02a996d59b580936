"""The trained parameters as one flat vector: names, places, snapshots, fingerprints."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attribution.errors import OptionError

SMALL = 1 << 12  # elements up to which a parameter is bundled with others


@dataclass(frozen=True)
class Place:
    """Where one parameter lies in the flat vector."""

    name: str
    parameter: nn.Parameter
    start: int
    stop: int

    def of(self, flat: Tensor) -> Tensor:
        """The parameter's part of `flat` ``[..., P]``, as a view ``[..., n]``."""
        return flat[..., self.start : self.stop]


@dataclass(frozen=True)
class Bundle:
    """Small parameters of one optimizer group, whose parts are kept side by side: for them the number of operations
    is what costs.
    """

    places: list[Place]
    columns: dict[str, slice]  # by name: where each lies among them
    index: Tensor  # [n], where their elements lie in the flat vector
    owner: Tensor  # [n], whose each element is, by number among the places

    @property
    def size(self) -> int:
        """How many elements they have together."""
        return len(self.index)

    @classmethod
    def of(cls, places: list[Place], device: torch.device) -> Bundle:
        """Of these parameters, in this order."""
        columns, offset = {}, 0
        for place in places:
            columns[place.name] = slice(offset, offset := offset + place.stop - place.start)
        index = torch.cat([torch.arange(place.start, place.stop) for place in places])
        owner = torch.cat([torch.full((p.stop - p.start,), number) for number, p in enumerate(places)])
        return cls(places, columns, index.to(device), owner.to(device))

    def lengths(self, vector: Tensor) -> Tensor:
        """The norm of each parameter's part of `vector` ``[n]``: ``[places]``."""
        squares = torch.zeros(len(self.places), dtype=vector.dtype, device=vector.device)
        return squares.index_add_(0, self.owner, vector * vector).sqrt_()


class ParameterSpace:
    """The parameters that an optimizer trains, in the model's order, laid out in one vector of length P.

    Raises `OptionError` if the optimizer holds a parameter that the model does not own, or if they lie on several
    devices.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
        places, offset = [], 0
        for name, parameter in model.named_parameters():
            if id(parameter) in trained:
                places.append(Place(name, parameter, offset, offset + parameter.numel()))
                offset += parameter.numel()
        if len(places) != len(trained):
            raise OptionError(
                f"the optimizer trains {len(trained) - len(places)} parameter(s) that the model does not own: "
                "make them part of the model"
            )
        devices = {str(place.parameter.device) for place in places}
        if len(devices) != 1:
            raise OptionError(f"the optimizer's parameters must lie on one device, not on {sorted(devices) or 'none'}")
        if any(place.parameter.is_complex() for place in places):
            raise OptionError("complex parameters cannot be metered: use their real and imaginary parts")
        self.places: list[Place] = places
        self.size = offset
        self.device = places[0].parameter.device
        self.dtype = torch.float32
        for place in places:
            self.dtype = torch.promote_types(self.dtype, place.parameter.dtype)
        self._by_id = {id(place.parameter): place for place in places}
        self.bundles = self._bundled(optimizer)

    def _bundled(self, optimizer: torch.optim.Optimizer) -> list[Bundle]:
        found = []
        for group in optimizer.param_groups:
            places = [self._by_id[id(parameter)] for parameter in group["params"]]
            small = [place for place in places if 1 < place.stop - place.start <= SMALL]
            if len(small) > 1:
                found.append(Bundle.of(small, self.device))
        return found

    def place(self, parameter: Tensor | None) -> Place | None:
        """The place of `parameter`, or None if it is not trained."""
        return None if parameter is None else self._by_id.get(id(parameter))

    def zeros(self, *leading: int) -> Tensor:
        """A zero tensor ``[*leading, P]``."""
        return torch.zeros(*leading, self.size, dtype=self.dtype, device=self.device)

    def snapshot(self) -> Tensor:
        """A copy of the parameters, ``[P]``."""
        flat = torch.empty(self.size, dtype=self.dtype, device=self.device)
        torch._foreach_copy_(self.shaped(flat), [place.parameter.detach() for place in self.places])
        return flat

    def shaped(self, flat: Tensor) -> list[Tensor]:
        """`flat` ``[P]`` as a view for each parameter, of its shape."""
        pieces = torch.split(flat, [place.stop - place.start for place in self.places])
        return [piece.view(place.parameter.shape) for piece, place in zip(pieces, self.places, strict=True)]

    def equals(self, flat: Tensor) -> bool:
        """Whether the parameters are those in `flat` ``[P]``, bit for bit."""
        return all(same(p.of(flat), p.parameter.detach().reshape(-1).to(self.dtype)) for p in self.places)

    def write(
        self, gradients: Sequence[Tensor | None], parameters: Sequence[Place], into: Tensor, *, over: bool = False
    ) -> None:
        """Add `gradients`, one a place of `parameters`, to the flat vector `into` ``[P]``, or write them over it."""
        found = [(p.of(into).view(p.parameter.shape), g) for p, g in zip(parameters, gradients, strict=True)]
        mine, given = [m for m, g in found if g is not None], [g for _, g in found if g is not None]
        if over:
            for missing in (m for m, g in found if g is None):
                missing.zero_()
        if given:
            (torch._foreach_copy_ if over else torch._foreach_add_)(mine, given)

    @contextmanager
    def at(self, flat: Tensor) -> Iterator[None]:
        """Let the model stand at the parameters `flat` ``[P]``; its own tensors come back untouched."""
        own = [place.parameter.data for place in self.places]
        try:
            for place in self.places:
                p = place.parameter
                p.data = place.of(flat).reshape(p.shape).to(p.dtype)
            yield
        finally:
            for place, data in zip(self.places, own, strict=True):
                place.parameter.data = data


class Bystanders:
    """What the objective may depend on besides the optimizer's parameters: others' parameters, and buffers."""

    def __init__(self, model: nn.Module, space: ParameterSpace) -> None:
        named = [(name, p) for name, p in model.named_parameters() if space.place(p) is None]
        self._parameters: list[tuple[str, Tensor]] = list(named)
        self._buffers = list(model.named_buffers())
        self._versions: dict[str, int] = {}

    def note(self) -> None:
        """All is as it is to be."""
        self._versions = {name: tensor._version for name, tensor in (*self._parameters, *self._buffers)}

    def changed_parameter(self) -> str | None:
        """The name of a parameter that was written to since, or None."""
        return self._changed(self._parameters)

    def changed_buffer(self) -> str | None:
        """The same of a buffer."""
        return self._changed(self._buffers)

    def _changed(self, tensors: Sequence[tuple[str, Tensor]]) -> str | None:
        return next((n for n, t in tensors if self._versions.get(n, t._version) != t._version), None)


def same(ours: Tensor, theirs: Tensor) -> bool:
    """Whether two vectors ``[n]`` of one type are equal."""
    if ours.dtype == torch.float32 and len(ours) > 1:
        # Two elements at a time, as whole numbers: less to compare. What differs may still be equal, as zeros are.
        even = len(ours) // 2 * 2
        with suppress(RuntimeError):  # not aligned
            if torch.equal(ours[:even].view(torch.int64), theirs[:even].view(torch.int64)):
                return torch.equal(ours[even:], theirs[even:])
    return torch.equal(ours, theirs)


def finite(flat: Tensor) -> bool:
    """Whether all elements of `flat` ``[n]`` are."""
    # A sum of squares sees NaN and infinity in one pass; it may also overflow, so look again.
    return math.isfinite(float(torch.dot(flat, flat))) or bool(torch.isfinite(flat).all())


def fingerprint(model: nn.Module) -> str:
    """SHA-256 over the names, types, shapes and bytes of all of `model`'s parameters, hexadecimal."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        digest.update(f"{name}\0{parameter.dtype}\0{tuple(parameter.shape)}\0".encode())
        flat = parameter.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
