"""What an experiment gives: Markdown, and pictures in one style."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

COLOURS = ("#0b6e4f", "#c8553d", "#2f5d8a", "#d9a441", "#7a5195", "#6b7280", "#4fb0ae", "#8c564b")


@dataclass(frozen=True)
class Report:
    """Tables as Markdown, and figures by the name of their file, such as ``"curate.png"``."""

    text: str
    pictures: dict[str, Any] = field(default_factory=dict)


def axes(columns: int = 1, rows: int = 1, *, width: float = 8.0, height: float = 3.6) -> tuple[Any, list[Any]]:
    """A figure and its axes, in a row after another: quiet, without frames, to be read at half its size."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for one in grid:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(axis="y", color="#e5e7eb", linewidth=0.8)
        one.set_axisbelow(True)
        one.set_prop_cycle(color=COLOURS)
    return figure, grid
