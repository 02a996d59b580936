"""A picture of a run: what each contributor's data was worth as the training went on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from attribution.errors import RecordError
from attribution.record import Floats, RunRecord

# Okabe & Ito 2008, told apart by readers of every kind of colour vision; yellow is left out, too faint for a line.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("solid", (0, (5, 1.6)), (0, (1.2, 1.2)))  # the second and third time round the colours
_INK, _QUIET, _FAINT = "#222222", "#6b6b6b", "#d9d9d9"
_NAMED = 16  # more contributors than this, and only the ends of the ranking are named
_TASKS_SHOWN = 3


def draw(record: RunRecord, path: Path) -> None:
    """Draw a run record to a PNG: cumulative value per contributor, each task, and how the account closes.

    Raises `RecordError` for a record without steps, of which there is nothing to draw.
    """
    if not len(record.steps):
        raise RecordError("the run has no steps: there is nothing to draw")
    paid = record.steps.values @ record.weights  # [segments, contributors]
    lines = _cumulative(paid)  # [segments + 1, contributors]
    places = np.concatenate([[0], np.cumsum(record.steps.length)])  # in steps; an edit by hand takes none
    ranking = np.argsort(-lines[-1], kind="stable")
    tasks = len(record.tasks) if 1 < len(record.tasks) <= _TASKS_SHOWN else 0

    figure = Figure(figsize=(11.2, 8.2), facecolor="white", dpi=160)
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        2, tasks + 1, height_ratios=(2.15, 1), hspace=0.34, wspace=0.24, left=0.07, right=0.965, top=0.86, bottom=0.075
    )
    main = figure.add_subplot(grid[0, :])
    _lines(main, places, lines, ranking, width=2.0)
    _label(main, record.contributors, lines[-1], ranking)
    main.set_xlabel("optimizer step", color=_QUIET, fontsize=9, labelpad=2)
    main.set_title(
        "cumulative value in nats of validation loss; above zero = lowered the loss",
        loc="left",
        fontsize=9.5,
        color=_QUIET,
        pad=6,
    )
    for task in range(tasks):
        panel = figure.add_subplot(grid[1, task])
        _lines(panel, places, _cumulative(record.steps.values[:, :, task]), ranking, width=1.2)
        panel.set_title(_task_title(record, task), loc="left", fontsize=9, color=_INK, pad=6)
    _account(figure.add_subplot(grid[1, tasks]), record)

    figure.text(0.07, 0.95, _title(record, ranking), fontsize=15, fontweight="bold", color=_INK)
    figure.text(0.07, 0.915, _subtitle(record), fontsize=10, color=_QUIET)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", metadata={"Software": None})


def _cumulative(values: Floats) -> Floats:
    """Running sums over the first axis, starting from zero."""
    return np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0)])


def _look(rank: int) -> tuple[str, object]:
    return COLOURS[rank % len(COLOURS)], _DASHES[(rank // len(COLOURS)) % len(_DASHES)]


def _named(count: int) -> Sequence[int]:
    """The ranks whose lines are named and coloured: all, or both ends of a long ranking."""
    return range(count) if count <= _NAMED else [*range(8), *range(count - 4, count)]


def _lines(axes: Axes, places: np.ndarray, lines: Floats, ranking: np.ndarray, width: float) -> None:
    axes.axhline(0, color=_QUIET, linewidth=0.8, zorder=1)
    named = set(_named(len(ranking)))
    for rank, contributor in enumerate(ranking):
        colour, dashes = _look(rank) if rank in named else (_FAINT, "solid")
        axes.plot(
            places,
            lines[:, contributor],
            color=colour,
            linestyle=dashes,
            linewidth=width,
            zorder=3 if rank in named else 2,
        )
    axes.set_xlim(0, max(places[-1], 1))
    axes.margins(y=0.06)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color(_FAINT)
    axes.tick_params(colors=_QUIET, labelsize=8, length=0)
    axes.grid(axis="y", color=_FAINT, linewidth=0.6)
    axes.locator_params(axis="y", nbins=6 if width > 1.5 else 4)
    axes.set_axisbelow(True)


def _label(axes: Axes, names: Sequence[str], ends: Floats, ranking: np.ndarray) -> None:
    """Write each line's name and value at its end, moved apart where the lines end close together."""
    low, high = axes.get_ylim()
    shown = list(_named(len(ranking)))
    wanted = [float(ends[ranking[rank]]) for rank in shown]
    places = spread(wanted, (high - low) * 0.052, low, high)
    last = axes.get_xlim()[1]
    for rank, end, place in zip(shown, wanted, places, strict=True):
        colour, _ = _look(rank)
        axes.annotate(
            f"{names[ranking[rank]]}  {_nats(end)}",
            xy=(last, end),
            xytext=(last * 1.035, place),
            color=colour,
            fontsize=9,
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.7,
                "shrinkA": 2,
                "shrinkB": 0,
                "relpos": (0.0, 0.5),
            },
        )
    # The names stand in the right quarter of the figure.
    box = axes.get_position()
    axes.set_position((box.x0, box.y0, box.width * 0.81, box.height))


def spread(wanted: Sequence[float], distance: float, low: float, high: float) -> list[float]:
    """Places as near as may be to `wanted` (descending), at least `distance` apart, within the bounds if they fit."""
    groups = [([place], place) for place in wanted]
    merged = True
    while merged:
        merged = False
        for i in range(len(groups) - 1):
            (upper, top), (lower, bottom) = groups[i], groups[i + 1]
            if top - (len(upper) - 1) / 2 * distance - (bottom + (len(lower) - 1) / 2 * distance) < distance * 0.999:
                together = upper + lower
                half = (len(together) - 1) / 2 * distance
                centre = min(max(sum(together) / len(together), low + half), max(high - half, low + half))
                groups[i : i + 2] = [(together, centre)]
                merged = True
                break
    return [
        centre + (len(members) - 1) / 2 * distance - k * distance
        for members, centre in groups
        for k in range(len(members))
    ]


def _task_title(record: RunRecord, task: int) -> str:
    if not record.telescopes:
        return f"{record.tasks[task]}: {_nats(float(record.improvement[task]))} nats over its batches"
    before, after = record.steps.loss_before[0, task], record.steps.loss_after[-1, task]
    return f"{record.tasks[task]}: loss {before:.2f} → {after:.2f}"


def _account(axes: Axes, record: RunRecord) -> None:
    """How the improvement is accounted for: gains, losses, house and gap, as bars on one scale."""
    values = record.values @ record.weights
    bars = [
        ("improvement", float(record.improvement @ record.weights), _INK),
        ("contributors, gains", float(values[values > 0].sum()), COLOURS[0]),
        ("contributors, losses", float(values[values < 0].sum()), COLOURS[1]),
        ("house", float(record.house @ record.weights), _QUIET),
        ("gap", float(record.gap @ record.weights), _QUIET),
    ]
    largest = max(abs(amount) for _, amount, _ in bars) or 1.0
    for row, (name, amount, colour) in enumerate(bars):
        axes.barh(row, amount, height=0.34, color=colour, zorder=3)
        axes.text(largest * 0.02, row - 0.24, name, fontsize=8, color=_QUIET, va="bottom")
        axes.text(largest * 1.04, row, _nats(amount), fontsize=8.5, color=_INK, va="center")
    axes.axvline(0, color=_QUIET, linewidth=0.8)
    axes.set_ylim(len(bars) - 0.5, -0.75)
    axes.set_xlim(min(0.0, min(amount for _, amount, _ in bars)) * 1.05, largest * 1.42)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_title("the account, in nats", loc="left", fontsize=9, color=_INK, pad=6)


def _nats(amount: float) -> str:
    places = 3
    while places < 6 and amount and abs(amount) < 0.5 * 10**-places:  # enough places to show that it is not zero
        places += 1
    return f"{amount:+.{places}f}".replace("-", "−")


def _title(record: RunRecord, ranking: np.ndarray) -> str:
    values, improvement = record.values @ record.weights, float(record.improvement @ record.weights)
    # With a validation batch for each step the sum of the steps is not what the model as a whole has gained.
    who = "The model" if record.telescopes else "Its steps"
    if improvement <= 0:
        return f"{who} lost {_nats(improvement)} nats" if improvement < 0 else f"{who} gained nothing"
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
        f"gap {_nats(gap)} nats{share}{partial}"
    )
