"""Markdown tables, medians and spreads."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def spread(values: Sequence[float], digits: int = 2) -> str:
    """The median and, of three values or more, the quartiles."""
    middle = f"{statistics.median(values):,.{digits}f}".replace(",", " ")
    if len(values) < 3:
        return middle
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle} ({low:,.{digits}f}–{high:,.{digits}f})".replace(",", " ")


def count(number: float) -> str:
    """A whole number with thin groups."""
    return f"{number:,.0f}".replace(",", " ")
