"""`ghostledger poison`: which samples and contributors of a run look like an attack, and a list without them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attribution.uses.poison import Poison, Suspect
from attribution.uses.poison import poison as examined
from attribution.uses.unit_list import KEEP
from ledger.cli.options import DEFAULT_LEDGER, AsJson, LedgerPlace
from ledger.cli.output import say, say_json, table
from ledger.cli.progress import advancing
from ledger.cli.run_data import run_folder, run_record
from ledger.cli.shown_units import sources_to_show, unit_line

EXAMPLE = "Example: ghostledger poison runs/monday --trusted alice --false-alarms 0.01"


def poison(
    run: Annotated[Path, typer.Argument(help="The folder of a run that was trained with --scores.")],
    out: Annotated[
        Path | None, typer.Option(help="A new folder for the list and the report; RUN/suspects where not given.")
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option(help="Judge samples on this task; repeat for more; on all, where not given.")
    ] = None,
    trusted: Annotated[
        list[str] | None,
        typer.Option(metavar="CONTRIBUTOR", help="Set the threshold by this one's samples; repeat for more."),
    ] = None,
    false_alarms: Annotated[
        float, typer.Option(metavar="SHARE", help="The share of honest samples that may be flagged.")
    ] = 0.01,
    show: Annotated[int, typer.Option(min=0, help="How many of the most suspicious samples to show.")] = 5,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Rank samples and contributors by how they stood against the validation set, and list what is not suspicious.

    Nothing is deleted: train again with --keep. What no task measures is not seen: a backdoor does no harm to a clean
    validation set. A flag is a reason to look, not a verdict.
    """
    record, folder = run_record(run), run_folder(run)
    target = out or folder / "suspects"
    sources = sources_to_show(ledger, record) if show and record.scores is not None else []
    total = (record.details.get("samples") or {}).get("scores")
    judged = len(task or record.tasks)
    with advancing(None if total is None else total * judged, "reading scores") as advance:
        found = examined(
            record,
            folder,
            target,
            tasks=task or [],
            trusted=trusted or [],
            false_alarms=false_alarms,
            sources=sources,
            show=show,
            advance=advance,
        )
    if as_json:
        say_json(found.json())
    else:
        _show(found)


def _show(found: Poison) -> None:
    unit, names = f"{found.unit}s", list(found.suspects[0].courses)
    columns = ["contributor", unit, "flagged", "chance", "suspicion", *(f"{task}: early, late" for task in names), ""]
    rows = [
        [
            one.name,
            f"{one.samples:,}",
            f"{one.flagged:,}",
            "trusted" if one.trusted else f"{one.chance:.2g}",
            "–" if one.suspicion is None else f"{one.suspicion:+.2f}",
            *(f"{course.early:+.4f}, {course.late:+.4f}" for course in one.courses.values()),
            _remark(one),
        ]
        for one in found.suspects
    ]
    title = f"flagged beyond {found.threshold:.2f} robust standard deviations, on {', '.join(found.tasks)}"
    table(title, columns, rows, right=set(columns[1:-1]))
    say(f"{found.false_alarms:.2%} of honest {unit} are flagged too, if {found.assumes}")
    for sample in found.worst:
        say(unit_line("suspicious", sample, found.size_is, dropped="flagged"))
    say(f"the list without what is flagged: {found.path / KEEP}")
    if found.unit == "record":
        say(f"to train on it: ghostledger train --keep {found.path / KEEP} …")


def _remark(one: Suspect) -> str:
    remarks = [f"against {task}" for task in one.opposed] + [f"turned on {task}" for task in one.turned]
    return ", ".join(remarks)
