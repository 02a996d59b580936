"""`ghostledger curate`: from a run's scores the list of what to keep, and what would be dropped, to read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attribution.uses.curate import curate as curated
from attribution.uses.curation import Curation, Pile, Rule
from attribution.uses.unit_list import KEEP
from ledger.cli.options import DEFAULT_LEDGER, AsJson, LedgerPlace
from ledger.cli.output import say, say_json, table
from ledger.cli.progress import advancing
from ledger.cli.run_data import run_folder, run_record
from ledger.cli.shown_units import sources_to_show, unit_line

EXAMPLE = "Example: ghostledger curate runs/monday --drop-share 0.1"


def curate(
    run: Annotated[Path, typer.Argument(help="The folder of a run that was trained with --scores.")],
    out: Annotated[
        Path | None, typer.Option(help="A new folder for the keep list and the report; RUN/curated where not given.")
    ] = None,
    drop_below: Annotated[
        float | None, typer.Option(metavar="NATS", help="Drop what scores less than this; 0 where nothing is said.")
    ] = None,
    drop_share: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Drop this share of all tokens: those that score least.")
    ] = None,
    standing: Annotated[
        bool,
        typer.Option("--standing", help="Rank by the score beside those of the same steps, not by the sum of nats."),
    ] = False,
    task: Annotated[str | None, typer.Option(help="Go by the scores on this task alone.")] = None,
    show: Annotated[int, typer.Option(min=0, help="How many of the worst and of the best to show.")] = 5,
    picture: Annotated[
        Path | None, typer.Option(help="Draw what is kept and dropped of each contributor's to this PNG.")
    ] = None,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Write the list of the records to keep, by their scores in a run, and report what would be dropped.

    Nothing is deleted: train again with --keep. A record's score is that of its tokens, from the blocks in which they
    lay, so short records share those of their neighbours.
    """
    rule = Rule(drop_below, drop_share, standing, task)
    record, folder = run_record(run), run_folder(run)
    target = out or folder / "curated"
    sources = sources_to_show(ledger, record) if show and record.scores is not None else []
    total = (record.details.get("samples") or {}).get("scores")
    with advancing(total, "reading scores") as advance:
        found = curated(record, folder, target, rule, sources=sources, show=show, advance=advance)
    if picture is not None:
        from attribution.uses.choice_picture import Bars, draw_choice  # loads matplotlib

        bars = [Bars(c.name, c.kept.size, c.dropped.size, c.kept.score, c.dropped.score) for c in found.contributors]
        draw_choice(bars, picture, size_is=found.size_is)
    if as_json:
        say_json(found.json())
    else:
        _show(found)
        if picture is not None:
            say(f"the picture: {picture}")


def _show(found: Curation) -> None:
    unit, size = f"{found.unit}s", found.size_is
    rows = [
        [c.name, *_counts(c.kept, c.dropped, sized=unit != size), *(f"{n:+.6f}" for n in _scores(c.kept, c.dropped))]
        for c in sorted(found.contributors, key=lambda c: (c.dropped.score + c.kept.score, c.name))
    ]
    sizes = [size, f"{size} dropped", "share"] if unit != size else ["share"]
    columns = ["contributor", unit, "unscored", "dropped", *sizes, "score, nats", "of it dropped"]
    table(f"{found.rule}: what is kept and what would be dropped", columns, rows, right=set(columns[1:]))
    for title, samples in (("scored least", found.worst), ("scored most", found.best)):
        for sample in samples:
            say(unit_line(title, sample, size))
    say(f"the keep list: {found.path / KEEP}")
    if found.unit == "record":
        say(f"to train on it: ghostledger train --keep {found.path / KEEP} …")


def _counts(kept: Pile, dropped: Pile, *, sized: bool) -> list[str]:
    units, size = kept.units + dropped.units, kept.size + dropped.size
    sizes = [f"{size:,}", f"{dropped.size:,}"] if sized else []
    share = f"{dropped.size / size:.1%}" if size else "–"
    return [f"{units:,}", f"{kept.unscored + dropped.unscored:,}", f"{dropped.units:,}", *sizes, share]


def _scores(kept: Pile, dropped: Pile) -> tuple[float, float]:
    return kept.score + dropped.score, dropped.score
