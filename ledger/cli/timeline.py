"""`ghostledger timeline`: when in a run each contributor's data was worth what."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attribution.uses.timeline import Span, Timeline, ranking
from attribution.uses.timeline import timeline as measured
from ledger.cli.options import AsJson
from ledger.cli.output import say, say_json, table, warn
from ledger.cli.run_data import run_record

EXAMPLE = "Example: ghostledger timeline runs/monday --parts 10 --picture timeline.png"


def timeline(
    run: Annotated[Path, typer.Argument(help="The folder of a run, or of its record.")],
    parts: Annotated[
        int, typer.Option(min=1, help="How many parts of equally many steps to divide the run into.")
    ] = 10,
    task: Annotated[str | None, typer.Option(help="Show this task alone.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw it to this PNG, a row a task.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what each contributor's data was worth in the first tenth of a run, in its last half and in each part.

    Values are in nats; positive lowered the loss. A path of several steps is never cut: parts end where paths do.
    """
    record = run_record(run)
    found = measured(record, parts, task)
    if picture is not None:
        from attribution.uses.timeline_picture import draw_timeline  # loads matplotlib

        draw_timeline(record, found, picture)
    for line in found.moved:
        warn(line)
    if as_json:
        say_json(found.json())
        return
    for number, name in enumerate(found.tasks):
        _show(found, number, name)
    if picture is not None:
        say(f"the picture: {picture}")


def _show(found: Timeline, task: int, name: str) -> None:
    early, late = found.early.shares(task), found.late.shares(task)
    rows = [
        [
            found.contributors[c],
            f"{found.whole.values[c, task]:+.6f}",
            f"{found.early.values[c, task]:+.6f}",
            _share(found.own_share(found.early, c, task)),
            _share(None if early is None else early[c]),
            f"{found.late.values[c, task]:+.6f}",
            _share(found.own_share(found.late, c, task)),
            _share(None if late is None else late[c]),
        ]
        for c in ranking(found, task)
    ]
    columns = ["contributor", "value", f"steps {_steps(found.early)}", "of its own", "of these steps"]
    columns += [f"steps {_steps(found.late)}", "of its own ", "of these steps "]
    table(f"{name}: the first tenth of {found.steps:,} steps and the last half, nats", columns, rows, right=columns[1:])
    rows = [
        [found.contributors[c], *(f"{part.values[c, task]:+.4f}" for part in found.parts)] for c in ranking(found, task)
    ]
    columns = ["contributor", *(_steps(part) for part in found.parts)]
    table(f"{name}: by part, nats", columns, rows, right=columns[1:])


def _steps(span: Span) -> str:
    return f"{span.first + 1:,}–{span.end:,}"


def _share(part: float | None) -> str:
    return "–" if part is None else f"{part:.1%}"
