"""A picture of an explanation: the image that was asked about, and rows of samples beside it. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

Labelled = tuple[npt.ArrayLike, str]


def sample_grid(asked: npt.ArrayLike, title: str, rows: Mapping[str, Sequence[Labelled]]) -> Any:
    """A figure: the image asked about ``[height, width]`` or ``[height, width, 3]``, and named rows of labelled ones.

    `rows` are such as "raised its loss" and "lowered it", each from its end on.
    """
    from matplotlib.figure import Figure

    across = max((len(samples) for samples in rows.values()), default=0)
    figure = Figure(figsize=(1.05 * (across + 2), 1.35 * max(1, len(rows))), layout="constrained")
    grid = figure.add_gridspec(max(1, len(rows)), across + 2)
    _draw(figure.add_subplot(grid[:, :2]), asked, title, 10)
    for line, (name, samples) in enumerate(rows.items()):
        for number, (image, label) in enumerate(samples):
            ax = figure.add_subplot(grid[line, number + 2])
            _draw(ax, image, label, 7)
            if number == 0:
                ax.set_ylabel(name, fontsize=8)
    return figure


def _draw(ax: Any, image: npt.ArrayLike, title: str, size: int) -> None:
    ax.imshow(image, cmap="gray_r")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_title(title, fontsize=size)
