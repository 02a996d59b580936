"""The retraining game, and the loss of one of its steps with tangents.

**The game.** A training is a fixed sequence of batches. Contributor c's data weigh w_c in it: step t descends

    f_t(θ, w) = Σ_r w_{who(r)} L_{t,r}(θ)  +  Σ_{r of nobody} L_{t,r}(θ),

where L_{t,r} is row r's share of the batch's loss *with the full batch's denominator*: a mean over 64 rows stays a sum
over 64 rows of loss / 64, whatever the weights. So weight 0 means the same batches with the contributor's rows struck
and nobody in their place; a weight below one scales its gradients. Rows of nobody weigh 1 and are the house's. The
optimizer (learning rates, momentum, weight decay) is not scaled. With θ_T(w) where training then ends, the worth of
the weights w is ℓ(θ_0) − ℓ(θ_T(w)), in nats of the objective ℓ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap

from attribution.errors import AttributionError, OptionError
from attribution.objective import twice_differentiable
from attribution.parameters import ParameterSpace
from attribution.undisturbed import random_state_kept

Losses = Callable[[nn.Module], Tensor]


class ReplayError(AttributionError):
    """A training cannot be replayed: a loss that is none, batches that differ from replay to replay."""


@dataclass(frozen=True)
class Batch:
    """One optimizer step's data.

    `who` has each row's contributor, an index, or −1 where it is nobody's: a LongTensor ``[rows]``. `losses` maps the
    model to what each row adds to the batch's loss, ``[rows]``, nats; they sum to what training descends. A mean over
    rows is ``cross_entropy(model(x), y, reduction="none") / len(y)``. `rate` is the step's learning rate, one for all
    of the optimizer's groups or one each; the optimizer's own where it is None.
    """

    who: Tensor | Sequence[int]
    losses: Losses
    rate: float | Sequence[float] | None = None


class WeightedLoss:
    """The gradient by the parameters ``[P]`` of a batch's weighted loss, and its tangents."""

    def __init__(self, model: nn.Module, space: ParameterSpace) -> None:
        for name, module in model.named_modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training:
                raise ReplayError(
                    f"module {name!r} ({type(module).__name__}) cannot be replayed: batch normalisation mixes rows, so "
                    "that none can be weighed alone; use GroupNorm or LayerNorm, or put it into evaluation mode"
                )
        if not any(place.parameter.requires_grad for place in space.places):
            raise OptionError("the optimizer holds no parameter that requires a gradient: nothing would be trained")
        self._space, self._caller = space, _Caller(model)
        self._sizes = [place.stop - place.start for place in space.places]
        self._buffers = {f"model.{name}": buffer.detach().clone() for name, buffer in model.named_buffers()}
        self._versions = {name: buffer._version for name, buffer in self._buffers.items()}

    def gradient(self, flat: Tensor, batch: Batch, weights: Tensor) -> tuple[Tensor, Tensor, list[bool]]:
        """Rows' losses ``[rows]`` and the gradient ``[P]`` at the parameters `flat` ``[P]``, with rows' `weights`.

        The third part says of each parameter whether it is trained and the losses depend on it at all.
        Raises `ReplayError` for losses that are none, and for a model that writes to its buffers.
        """
        places = self._space.places
        pieces = [piece.detach() for piece in self._pieces(flat)]
        trained = [n for n, place in enumerate(places) if place.parameter.requires_grad]
        for n in trained:
            pieces[n].requires_grad_(True)
        with torch.enable_grad():
            rows = self._rows(pieces, batch)
            self._check(rows, len(weights))
            found = torch.autograd.grad((rows * weights).sum(), [pieces[n] for n in trained], allow_unused=True)
        gradient, used = self._space.zeros(), [False] * len(places)
        for n, part in zip(trained, found, strict=True):
            if part is not None:
                places[n].of(gradient).copy_(part.reshape(-1))
                used[n] = True
        return rows.detach(), gradient, used

    def tangents(
        self, flat: Tensor, batch: Batch, weights: Tensor, who: Tensor, along: Tensor, chunk: int | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Rows' losses ``[rows]``, the gradient ``[P]``, and how it changes with each contributor's weight ``[K, P]``.

        `along` ``[K, P]`` is how the parameters change with it. Forward over reverse: each tangent is one Jacobian-
        vector product of the gradient along (`along`_c, e_c). So many contributors as `chunk` says are computed at
        once, by vmap (which `chunk` = 1 does without).

        Raises `ReplayError` for a model or loss that cannot be differentiated so.
        """
        count = len(along)
        own = (who == torch.arange(count, device=who.device).unsqueeze(1)).to(weights.dtype)  # [K, rows]
        tangents = torch.empty_like(along)
        lacking = "tangents by forward differentiation"
        for mine, found in self._in_chunks(self._derivative(flat, batch, weights), chunk, lacking, along, own):
            gradient, losses, tangents[mine] = found[0][0], found[2][0], found[1]
        return losses.detach(), gradient.detach(), tangents

    def gradients(self, points: Tensor, batch: Batch, chunk: int | None) -> Tensor:
        """The gradient ``[K, P]`` at each of `points` ``[K, P]``, rows at weight 1; `chunk` of them at once.

        Raises `ReplayError` for a model or loss that cannot be differentiated so.
        """

        def whole(at: Tensor) -> Tensor:
            rows = self._rows(self._pieces(at), batch)
            self._check_shape(rows, len(batch.who))
            return rows.sum()

        gradient, found = grad(whole), torch.empty_like(points)
        for mine, (part,) in self._in_chunks(lambda at: (gradient(at),), chunk, "gradient by torch.func", points):
            found[mine] = part
        return found

    @staticmethod
    def _in_chunks(
        function: Callable[..., tuple[Tensor, ...]], chunk: int | None, lacking: str, *stacks: Tensor
    ) -> Iterator[tuple[slice, tuple[Tensor, ...]]]:
        count = len(stacks[0])
        size = count if chunk is None else min(chunk, count)
        for start in range(0, count, size):
            mine = slice(start, start + size)
            last = start + size >= count
            # Each chunk calls the model anew: all must draw the same random numbers, and leave behind those of one.
            with nullcontext() if last else random_state_kept(), twice_differentiable():
                try:
                    if size == 1:
                        found = tuple(part.unsqueeze(0) for part in function(*(stack[start] for stack in stacks)))
                    else:
                        found = vmap(function, randomness="same")(*(stack[mine] for stack in stacks))
                except (RuntimeError, NotImplementedError) as error:
                    what = str(error).splitlines()[0]
                    remedy = "use chunk=1, one contributor at a time" if size > 1 else "replace the layer that has none"
                    raise ReplayError(f"the losses have no {lacking} ({what}): {remedy}") from error
            yield mine, found

    def _derivative(
        self, flat: Tensor, batch: Batch, weights: Tensor
    ) -> Callable[[Tensor, Tensor], tuple[Tensor, ...]]:
        def weighted(at: Tensor, rows_weights: Tensor) -> tuple[Tensor, Tensor]:
            rows = self._rows(self._pieces(at), batch)
            self._check_shape(rows, len(weights))
            return (rows * rows_weights).sum(), rows

        gradient = grad(weighted, has_aux=True)

        def along(direction: Tensor, rows_direction: Tensor) -> tuple[Tensor, ...]:
            found: tuple[Tensor, ...] = jvp(gradient, (flat, weights), (direction, rows_direction), has_aux=True)
            return found

        return along

    def _pieces(self, flat: Tensor) -> list[Tensor]:
        pairs = zip(self._space.places, torch.split(flat, self._sizes), strict=True)
        return [piece.view(place.parameter.shape).to(place.parameter.dtype) for place, piece in pairs]

    def _rows(self, pieces: Sequence[Tensor], batch: Batch) -> Tensor:
        named = {f"model.{place.name}": piece for place, piece in zip(self._space.places, pieces, strict=True)}
        given = {**named, **self._buffers}  # in it the call leaves what the model's own have become
        rows: Tensor = functional_call(self._caller, given, (batch.losses,))
        for name, buffer in self._buffers.items():
            if given[name] is not buffer or buffer._version != self._versions[name]:
                raise ReplayError(
                    f"training writes to the buffer {name.removeprefix('model.')!r}, which has no tangent in a replay: "
                    "use a layer without running statistics, or put it into evaluation mode"
                )
        return rows

    @staticmethod
    def _check_shape(rows: Tensor, count: int) -> None:
        if not isinstance(rows, Tensor) or rows.shape != (count,) or not rows.is_floating_point():
            what = f"{rows.dtype} of shape {tuple(rows.shape)}" if isinstance(rows, Tensor) else type(rows).__name__
            raise ReplayError(f"losses must return a loss for each of the {count} rows, [{count}], not {what}")

    @classmethod
    def _check(cls, rows: Tensor, count: int) -> None:
        cls._check_shape(rows, count)
        if not rows.requires_grad:
            raise ReplayError("losses without a gradient: compute them from the model, not under no_grad()")


class _Caller(nn.Module):
    """Hands the model, whatever parameters it stands at, to a function."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, losses: Losses) -> Tensor:
        return losses(self.model)
