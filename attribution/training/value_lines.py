"""Cumulative values as lines, in one look: colours by rank, names at the lines' ends; and pictures as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attribution.errors import RecordError
from attribution.record import Floats

# Okabe & Ito 2008, told apart by readers of every kind of colour vision; yellow is left out, too faint for a line.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
INK, QUIET, FAINT = "#222222", "#6b6b6b", "#d9d9d9"

_DASHES = ("solid", (0, (5, 1.6)), (0, (1.2, 1.2)))  # the second and third time round the colours
_NAMED = 16  # more contributors than this, and only the ends of the ranking are named


def write_png(figure: Figure, path: Path) -> None:
    """Write a figure to the file `path`, the same bytes every time. Raises `RecordError` where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="png", metadata={"Software": None})
    except OSError as error:
        raise RecordError(f"{path}: the picture cannot be written: {error.strerror or error}") from error


def cumulative(values: Floats) -> Floats:
    """Running sums over the first axis, starting from zero."""
    return np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0)])


def look(rank: int) -> tuple[str, object]:
    """The colour and dashes of the contributor of that rank."""
    return COLOURS[rank % len(COLOURS)], _DASHES[(rank // len(COLOURS)) % len(_DASHES)]


def named(count: int) -> Sequence[int]:
    """The ranks whose lines are named and coloured: all, or both ends of a long ranking."""
    return range(count) if count <= _NAMED else [*range(8), *range(count - 4, count)]


def draw_lines(axes: Axes, places: np.ndarray, lines: Floats, ranking: np.ndarray, width: float) -> None:
    """Draw `lines` ``[places, contributors]`` in the look of their ranks."""
    axes.axhline(0, color=QUIET, linewidth=0.8, zorder=1)
    shown = set(named(len(ranking)))
    for rank, contributor in enumerate(ranking):
        colour, dashes = look(rank) if rank in shown else (FAINT, "solid")
        axes.plot(
            places,
            lines[:, contributor],
            color=colour,
            linestyle=dashes,
            linewidth=width,
            zorder=3 if rank in shown else 2,
        )
    axes.set_xlim(0, max(places[-1], 1))
    axes.margins(y=0.06)
    quiet(axes)
    axes.locator_params(axis="y", nbins=6 if width > 1.5 else 4)


def quiet(axes: Axes) -> None:
    """No frame but a faint one on the left, and a faint grid behind."""
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color(FAINT)
    axes.tick_params(colors=QUIET, labelsize=8, length=0)
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)


def label_ends(
    axes: Axes, names: Sequence[str], ends: Floats, ranking: np.ndarray, *, distance: float = 0.052, narrower: float = 1
) -> None:
    """Write each line's name and value at its end, at least `distance` of the height apart.

    The axes are made `narrower` for the names to stand beside them.
    """
    low, high = axes.get_ylim()
    shown = sorted(named(len(ranking)), key=lambda rank: -ends[ranking[rank]])
    wanted = [float(ends[ranking[rank]]) for rank in shown]
    places = spread(wanted, (high - low) * distance, low, high)
    last = axes.get_xlim()[1]
    for rank, end, place in zip(shown, wanted, places, strict=True):
        colour, _ = look(rank)
        axes.annotate(
            f"{names[ranking[rank]]}  {nats(end)}",
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
    box = axes.get_position()
    axes.set_position((box.x0, box.y0, box.width * narrower, box.height))


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


def nats(amount: float) -> str:
    """A signed amount with enough places to show that it is not zero."""
    places = 3
    while places < 6 and amount and abs(amount) < 0.5 * 10**-places:
        places += 1
    return f"{amount:+.{places}f}".replace("-", "−")
