"""Bars for long work, shown where someone is watching."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from ledger.cli.output import console

_EVERY = 256  # records between two updates


def watched(records: Iterable[str], what: str) -> Iterator[str]:
    """The records, unchanged, with a count of what was read so far on standard error."""
    columns = TextColumn("reading {task.description}"), TextColumn("{task.fields[read]}"), TimeElapsedColumn()
    quiet = not sys.stderr.isatty()
    with Progress(SpinnerColumn(), *columns, console=console(error=True), transient=True, disable=quiet) as progress:
        bar = progress.add_task(what, total=None, read="")
        characters = 0
        for number, record in enumerate(records, start=1):
            characters += len(record)
            if number % _EVERY == 0:
                progress.update(bar, read=f"{number:,} records, {characters / 1e6:,.1f} million characters")
            yield record


def counted(places: Sequence[int], what: str) -> Iterator[int]:
    """The numbers, unchanged, with how many of them are done on standard error."""
    quiet = not sys.stderr.isatty()
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console(error=True), transient=True, disable=quiet) as progress:
        yield from progress.track(places, description=what)


@contextmanager
def advancing(total: int | None, what: str) -> Iterator[Callable[[int], None]]:
    """A function that is told how much more is done; how much that is, of `total`, is shown on standard error."""
    quiet = not sys.stderr.isatty()
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console(error=True), transient=True, disable=quiet) as progress:
        bar = progress.add_task(what, total=total)
        yield lambda more: progress.advance(bar, more)
