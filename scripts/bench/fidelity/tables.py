"""Markdown tables and the figures in them."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def percent(value: float) -> str:
    """A part as a signed percentage with two significant digits."""
    size = abs(100 * value)
    if size < 1e-12:
        return "0"
    if size < 0.01:
        return f"{100 * value:+.0e} %".replace("e-0", "e-")
    digits = max(0, 1 - int(np.floor(np.log10(size))))
    return f"{100 * value:+,.{digits}f} %".replace(",", " ")


def spread(values: npt.ArrayLike, digits: int = 2) -> str:
    """Mean and standard deviation."""
    found = np.asarray(values, dtype=np.float64)
    if len(found) < 2:
        return f"{found.mean():.{digits}f}"
    return f"{found.mean():.{digits}f} ± {found.std(ddof=1):.{digits}f}"


def publish(sections: Sequence[str], how: str, output: Path | None) -> None:
    """Print the sections, or write them to the file `output`; `how` says how they were made, beside the versions."""
    where = f"Python {platform.python_version()}, torch {torch.__version__}, {how}."
    content = "\n".join([*sections, where]) + "\n"
    if output is None:
        print(content)
    else:
        output.write_text(content)
