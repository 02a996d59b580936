"""A picture of a run: what each contributor's data was worth as the training went on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from attribution.errors import RecordError
from attribution.record import RunRecord
from attribution.training.value_lines import (
    COLOURS,
    INK,
    QUIET,
    cumulative,
    draw_lines,
    label_ends,
    nats,
    write_png,
)

_TASKS_SHOWN = 3


def draw(record: RunRecord, path: Path) -> None:
    """Draw a run record to a PNG: cumulative value per contributor, each task, and how the account closes.

    Raises `RecordError` for a record without steps, of which there is nothing to draw.
    """
    if not len(record.steps):
        raise RecordError("the run has no steps: there is nothing to draw")
    paid = record.steps.values @ record.weights  # [segments, contributors]
    lines = cumulative(paid)  # [segments + 1, contributors]
    places = np.concatenate([[0], np.cumsum(record.steps.length)])  # in steps; an edit by hand takes none
    ranking = np.argsort(-lines[-1], kind="stable")
    tasks = len(record.tasks) if 1 < len(record.tasks) <= _TASKS_SHOWN else 0

    figure = Figure(figsize=(11.2, 8.2), facecolor="white", dpi=160)
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        2, tasks + 1, height_ratios=(2.15, 1), hspace=0.34, wspace=0.24, left=0.07, right=0.965, top=0.86, bottom=0.075
    )
    main = figure.add_subplot(grid[0, :])
    draw_lines(main, places, lines, ranking, width=2.0)
    label_ends(main, record.contributors, lines[-1], ranking, narrower=0.81)  # names in the right quarter
    main.set_xlabel("optimizer step", color=QUIET, fontsize=9, labelpad=2)
    main.set_title(
        "cumulative value in nats of validation loss; above zero = lowered the loss",
        loc="left",
        fontsize=9.5,
        color=QUIET,
        pad=6,
    )
    for task in range(tasks):
        panel = figure.add_subplot(grid[1, task])
        draw_lines(panel, places, cumulative(record.steps.values[:, :, task]), ranking, width=1.2)
        panel.set_title(_task_title(record, task), loc="left", fontsize=9, color=INK, pad=6)
    _account(figure.add_subplot(grid[1, tasks]), record)

    figure.text(0.07, 0.95, _title(record, ranking), fontsize=15, fontweight="bold", color=INK)
    figure.text(0.07, 0.915, _subtitle(record), fontsize=10, color=QUIET)
    write_png(figure, path)


def _task_title(record: RunRecord, task: int) -> str:
    if not record.telescopes:
        return f"{record.tasks[task]}: {nats(float(record.improvement[task]))} nats over its batches"
    before, after = record.steps.loss_before[0, task], record.steps.loss_after[-1, task]
    return f"{record.tasks[task]}: loss {before:.2f} → {after:.2f}"


def _account(axes: Axes, record: RunRecord) -> None:
    """How the improvement is accounted for: gains, losses, house and gap, as bars on one scale."""
    values = record.values @ record.weights
    bars = [
        ("improvement", float(record.improvement @ record.weights), INK),
        ("contributors, gains", float(values[values > 0].sum()), COLOURS[0]),
        ("contributors, losses", float(values[values < 0].sum()), COLOURS[1]),
        ("house", float(record.house @ record.weights), QUIET),
        ("gap", float(record.gap @ record.weights), QUIET),
    ]
    largest = max(abs(amount) for _, amount, _ in bars) or 1.0
    for row, (name, amount, colour) in enumerate(bars):
        axes.barh(row, amount, height=0.34, color=colour, zorder=3)
        axes.text(largest * 0.02, row - 0.24, name, fontsize=8, color=QUIET, va="bottom")
        axes.text(largest * 1.04, row, nats(amount), fontsize=8.5, color=INK, va="center")
    axes.axvline(0, color=QUIET, linewidth=0.8)
    axes.set_ylim(len(bars) - 0.5, -0.75)
    axes.set_xlim(min(0.0, min(amount for _, amount, _ in bars)) * 1.05, largest * 1.42)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_title("the account, in nats", loc="left", fontsize=9, color=INK, pad=6)


def _title(record: RunRecord, ranking: np.ndarray) -> str:
    values, improvement = record.values @ record.weights, float(record.improvement @ record.weights)
    # With a validation batch for each step the sum of the steps is not what the model as a whole has gained.
    who = "The model" if record.telescopes else "Its steps"
    if improvement <= 0:
        return f"{who} lost {nats(improvement)} nats" if improvement < 0 else f"{who} gained nothing"
    best, worst = ranking[0], ranking[-1]
    title = f"{who} gained {improvement:.2f} nats; {record.contributors[best]} taught it most"
    return f"{title}, {record.contributors[worst]} hurt it most" if values[worst] < 0 else title


def _subtitle(record: RunRecord) -> str:
    improvement, gap = float(record.improvement @ record.weights), float(record.gap @ record.weights)
    share = f" ({abs(gap / improvement):.1g} of the gain)" if improvement else ""
    weights = ", ".join(f"{task} ×{weight:g}" for task, weight in zip(record.tasks, record.weights, strict=True))
    partial = "" if record.complete else f" · partial run: {record.stopped}"
    drawn = "" if record.telescopes else ", each on a validation batch of its own"
    return (
        f"{len(record.contributors)} contributors, {record.steps.length.sum()} steps{drawn} · objective {weights} · "
        f"gap {nats(gap)} nats{share}{partial}"
    )
