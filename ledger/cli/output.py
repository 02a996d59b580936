"""What the commands print: tables for people, JSON for programs, and one line for a refusal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

PIPE_WIDTH = 200  # characters, where the output is not a terminal that has a width of its own


def console(*, error: bool = False) -> Console:
    """The console for standard output, or for standard error."""
    terminal = (sys.stderr if error else sys.stdout).isatty()
    return Console(stderr=error, width=None if terminal else PIPE_WIDTH, highlight=False)


def say(line: str) -> None:
    """Print one line as it is: no markup, no wrapping."""
    console().print(line, markup=False, soft_wrap=True)


def warn(line: str) -> None:
    """Print one line on standard error."""
    console(error=True).print(f"ghostledger: {' '.join(line.split())}", markup=False, soft_wrap=True)


def write(text: str) -> None:
    """Print a text to the byte, as a file would hold it."""
    sys.stdout.write(text)


def say_json(value: Any) -> None:
    """Print a value as JSON on standard output, and nothing else."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def give_up_output() -> None:
    """Write nothing more to standard output, which may be full: at its end Python would try, and fail, again."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def refusal(reason: str, code: int) -> int:
    """Print the reason on standard error, in one line, and hand back the exit code."""
    warn(reason)
    return code


def table(
    title: str | None,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    right: Collection[str] = (),
    section: int = 0,
    styles: Sequence[str] | None = None,
) -> None:
    """Print a table; `right` names the right-aligned columns, a line is drawn after `section` rows."""
    drawn = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        drawn.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for number, row in enumerate(rows, start=1):
        style = styles[number - 1] if styles else None
        drawn.add_row(*(escape(str(cell)) for cell in row), style=style, end_section=number == section)
    console().print(drawn)
