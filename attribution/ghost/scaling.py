"""By which factor a gradient was scaled after it was computed, such as by clipping or a loss scaler."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

Pairs = Sequence[tuple[Tensor, Tensor]]  # the gradient as it is now and as it was, a pair a parameter


def scaling(pairs: Pairs, epsilon: float) -> tuple[float, bool]:
    """The factor f with ``now ≈ f · before`` in all `pairs`, and whether that holds everywhere, to rounding."""
    square = sum(float(torch.dot(before, before)) for _, before in pairs)
    if square == 0:
        return 1.0, False
    fitted = sum(float(torch.dot(now, before)) for now, before in pairs) / square
    residual = sum(float((now - fitted * before).norm()) ** 2 for now, before in pairs)
    if residual <= (1000 * epsilon * fitted) ** 2 * square:
        return (1.0 if abs(fitted - 1) <= 16 * epsilon else fitted), True
    elements = sum(len(before) for _, before in pairs)
    return _among(pairs, epsilon, fitted, math.sqrt(residual / elements / square)), False


def _among(pairs: Pairs, epsilon: float, fitted: float, spread: float) -> float:
    """The factor where a residual remains: one that many elements share exactly, else the fitted one.

    A fitted factor that noise alone can explain as a deviation from 1 is taken for 1; `spread` is the standard
    deviation that the residual gives it.
    """
    largest = max(float(before.abs().max()) for _, before in pairs if len(before))
    ratios = []
    for now, before in pairs:
        used = before.abs() > 1e-6 * largest
        ratios.append((now[used] / before[used]).double())
    found = torch.cat(ratios)
    for candidate in (1.0, float(found.median())):
        shared = (found - candidate).abs() <= 1e4 * epsilon * abs(candidate)
        if candidate != 0 and float(shared.double().mean()) >= 0.02:
            return candidate
    return 1.0 if abs(fitted - 1) <= 4 * spread else fitted
