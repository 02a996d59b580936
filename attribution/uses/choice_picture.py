"""A picture of what is kept and what is left of each contributor's data, by amount and by score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from attribution.training.value_lines import COLOURS, FAINT, INK, QUIET, write_png

SHOWN = 24  # contributors, those of the largest scores

_KEPT, _LEFT = COLOURS[0], COLOURS[1]


class Bars(NamedTuple):
    """A contributor's data: what is kept and what is left of it."""

    name: str
    kept_size: int
    left_size: int
    kept_score: float  # nats
    left_score: float


def draw_choice(bars: Sequence[Bars], path: Path, *, size_is: str, kept: str = "kept", left: str = "dropped") -> None:
    """Draw to a PNG, a row a contributor. Raises `RecordError` where it cannot be written."""
    ranked = sorted(bars, key=lambda bar: (-abs(bar.kept_score + bar.left_score), bar.name))[:SHOWN]
    ranked.sort(key=lambda bar: (bar.kept_score + bar.left_score, bar.name))
    figure = Figure(figsize=(10.0, 1.3 + 0.3 * len(ranked)), facecolor="white", dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    sizes, scores = figure.subplots(1, 2, sharey=True)
    _bars(sizes, ranked, [(bar.kept_size, bar.left_size) for bar in ranked], (kept, left), size_is)
    _bars(scores, ranked, [(bar.kept_score, bar.left_score) for bar in ranked], (kept, left), "score, nats")
    sizes.legend(frameon=False, fontsize=8, loc="lower right")
    if len(bars) > SHOWN:
        figure.supxlabel(f"{SHOWN} of {len(bars)} contributors", color=QUIET, fontsize=8)
    write_png(figure, path)


def _bars(
    axes: Axes, bars: Sequence[Bars], parts: Sequence[tuple[float, float]], words: tuple[str, str], what: str
) -> None:
    """Both parts beside each other, each from where the other of its sign ends."""
    places = range(len(bars))
    first, second = [one for one, _ in parts], [other for _, other in parts]
    starts = [one if one * other > 0 else 0.0 for one, other in parts]
    axes.barh(places, first, color=_KEPT, height=0.7, label=words[0])
    axes.barh(places, second, left=starts, color=_LEFT, height=0.7, label=words[1])
    axes.axvline(0, color=QUIET, linewidth=0.8)
    axes.set_yticks(places, [bar.name for bar in bars], fontsize=8, color=INK)
    axes.set_title(what, loc="left", fontsize=9.5, color=INK)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    axes.tick_params(colors=QUIET, labelsize=8, length=0)
