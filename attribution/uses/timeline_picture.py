"""A picture of a timeline: for each task the cumulative values, and who had which part in each part of the run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from attribution.record import Floats, RunRecord
from attribution.training.value_lines import (
    FAINT,
    INK,
    QUIET,
    cumulative,
    draw_lines,
    label_ends,
    look,
    named,
    quiet,
    write_png,
)
from attribution.uses.timeline import Timeline, ranking

_ROW_INCHES = 3.3


def draw_timeline(record: RunRecord, found: Timeline, path: Path) -> None:
    """Draw a run's timeline to a PNG, a row a task; the first tenth and the last half are shaded."""
    rows = len(found.tasks)
    figure = Figure(figsize=(13.2, _ROW_INCHES * rows + 1.0), facecolor="white", dpi=130)
    FigureCanvasAgg(figure)
    margin = 0.55 / (_ROW_INCHES * rows + 1.0)
    grid = figure.add_gridspec(
        rows, 2, width_ratios=(1.75, 1), wspace=0.08, hspace=0.42, left=0.05, right=0.985, top=1 - margin, bottom=margin
    )
    places = np.concatenate([[0], np.cumsum(record.steps.length)])
    order = np.array(ranking(found, 0))  # a contributor has one colour in all rows
    for task, name in enumerate(found.tasks):
        column = record.weights if name not in record.tasks else np.eye(len(record.tasks))[record.tasks.index(name)]
        left, right = figure.add_subplot(grid[task, 0]), figure.add_subplot(grid[task, 1])
        lines = cumulative(record.steps.values @ column)
        draw_lines(left, places, lines, order, width=1.8)
        left.axvspan(0, found.early.end, color=FAINT, alpha=0.35, zorder=0, linewidth=0)
        left.axvspan(found.late.first, found.steps, color=FAINT, alpha=0.35, zorder=0, linewidth=0)
        label_ends(left, found.contributors, lines[-1], order, distance=0.085, narrower=0.72)
        left.set_title(f"{name}: cumulative value, nats", loc="left", fontsize=9.5, color=INK, pad=6)
        _parts(right, found, np.stack([part.values[:, task] for part in found.parts]), order)
        right.set_title("each part of the run, by who moved it", loc="left", fontsize=9.5, color=INK, pad=6)
        if task == rows - 1:
            for axes in (left, right):
                axes.set_xlabel("optimizer step", color=QUIET, fontsize=9, labelpad=2)
    write_png(figure, path)


def _parts(axes: Axes, found: Timeline, values: Floats, order: np.ndarray) -> None:
    """Bars that divide what moved the loss in a part ``[parts, contributors]``: what helped above, what harmed below.

    Their lengths sum to 1, so that the small gains of the late steps are seen beside the large ones of the first.
    """
    total = np.abs(values).sum(axis=1, keepdims=True)
    shares = np.divide(values, total, out=np.zeros_like(values), where=total > 0)
    lefts = np.array([part.first for part in found.parts])
    widths = np.array([part.steps for part in found.parts])
    above, below = np.zeros(len(shares)), np.zeros(len(shares))
    shown = set(named(len(order)))
    for rank, contributor in enumerate(order):
        column = shares[:, contributor]
        start = np.where(column >= 0, above, below)
        colour, dashes = look(rank) if rank in shown else (FAINT, "solid")
        hatch = None if dashes == "solid" else "//"  # the second time round the colours
        axes.bar(
            lefts, column, widths, start, align="edge", color=colour, hatch=hatch, edgecolor="white", linewidth=0.7
        )
        above, below = above + np.maximum(column, 0), below + np.minimum(column, 0)
    axes.axhline(0, color=QUIET, linewidth=0.8)
    axes.set_xlim(0, found.steps)
    quiet(axes)
