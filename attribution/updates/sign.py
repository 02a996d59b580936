"""The sign of a sum, divided among its terms."""

from __future__ import annotations

import torch
from torch import Tensor


def divided_sign(parts: Tensor, sign: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """``(scale, rest)``, each ``[n]``, with ``Σ parts · scale + rest = sign`` of the sum of `parts` ``[parts, n]``.

    `scale` is 1/|sum|: the Aumann-Shapley division of the sign, which is the same at every length of the sum. Where
    the sum is nothing but rounding at the precision `epsilon`, no part decided the sign: it is all in the rest.
    """
    total = parts.sum(0)
    decided = total.abs() > 16 * epsilon * parts.abs().sum(0)
    scale = torch.where(decided, total.abs().reciprocal_(), 0.0)
    return scale, torch.where(decided, 0.0, sign)
