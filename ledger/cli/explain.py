"""`ghostledger explain`: which samples raised and lowered a prediction's loss, and what they have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attribution.record import RunRecord
from attribution.training.sources import Source, TaskSource
from attribution.uses.explain import EXTREMES, TaskExplanation, explain_task
from attribution.uses.hypotheses import Hypothesis
from ledger.cli.options import DEFAULT_LEDGER, AsJson, LedgerPlace
from ledger.cli.output import say, say_json, table
from ledger.cli.progress import advancing
from ledger.cli.run_data import kept_sources, run_folder, run_record, run_sources
from ledger.cli.run_tasks import run_tasks
from ledger.cli.texts import read_text
from ledger.database import Ledger
from ledger.errors import LedgerError

if TYPE_CHECKING:
    from attribution.uses.counterfactual import Counterfactual
    from attribution.uses.explain_text import TextExplanation

EXAMPLE = "Example: ghostledger explain runs/monday --text answer.txt --check group"

_SHOWN_CHARACTERS = 160


class AskedError(LedgerError):
    """It is not clear, or not possible, what to explain."""


class NoSuchSampleError(LedgerError):
    """The run's data and tasks have no such record."""

    def __init__(self, sample: str, reason: str) -> None:
        self.sample = sample
        super().__init__(f"there is no sample {sample!r}: {reason}")


def explain(
    run: Annotated[Path, typer.Argument(help="The folder that train wrote.")],
    text: Annotated[Path | None, typer.Option(help="Explain the loss on this text: a UTF-8 file.")] = None,
    sample: Annotated[
        str | None,
        typer.Option(
            metavar="DATASET/RECORD",
            help="Explain the loss on a record: its dataset's fingerprint or its beginning, or a task's name.",
        ),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Explain the loss on this task of the run, by the scores that the run kept.")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(help="The keep list that the run was trained on, where it was on one.")
    ] = None,
    extremes: Annotated[int, typer.Option(min=1, help="How many samples of each end to test.")] = EXTREMES,
    preconditioner: Annotated[
        str, typer.Option(help="identity, diagonal, or kronecker: by which product gradients are compared.")
    ] = "identity",
    normalise: Annotated[
        str, typer.Option(help="Divide a sample's score by nothing (none), its tokens, or its gradient's length.")
    ] = "none",
    check: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT",
            help="Train again without the hypothesised group, or the records that raised or lowered the loss most.",
        ),
    ] = None,
    draws: Annotated[int, typer.Option(min=1, help="Removals of as many records at random to compare with.")] = 3,
    show: Annotated[int, typer.Option(min=0, help="How many samples of each end to show.")] = 5,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Show which training samples raised and lowered the loss on a text, and who is over-represented among them.

    With --check the model is trained again, same configuration and seed, without the group (or the samples), and
    without as many random records. Only data that is consented to now is read. Nothing is booked.
    """
    if sum(asked is not None for asked in (text, sample, task)) != 1:
        raise AskedError("name one thing to explain: --text, --sample or --task")
    if task is not None:
        if check is not None:
            raise AskedError("--check trains again for a text: give --text or --sample, not --task")
        _explain_task(run_record(run), task, extremes, show, as_json)
        return
    from attribution.uses.explain_text import CHECKS, check_text, explain_text  # loads torch
    from attribution.uses.scoring import Measure

    measure = Measure(preconditioner, normalise)
    if check is not None and check not in CHECKS:
        raise AskedError(f"--check is one of {', '.join(CHECKS)}, not {check!r}")
    words = None if text is None else read_text(text)
    record, folder = run_record(run), run_folder(run)
    with Ledger.open(ledger) as books:
        sources = kept_sources(record, run_sources(books, record), keep)
        if sample is not None:
            words = _record(sample, sources, lambda: run_tasks(books, record))
    assert words is not None
    with advancing(None, "scoring samples") as advance:
        found = explain_text(record, folder, sources, words, measure=measure, extremes=extremes, advance=advance)
    checked = None
    if check is not None:
        with advancing(1 + draws, "training again") as advance:
            checked = check_text(record, folder, sources, words, found, check, draws=draws, advance=advance)
    if as_json:
        say_json({"run": record.identity, **asdict(measure), **_json(found, checked)})
    else:
        _show(found, checked, show)


def _explain_task(record: RunRecord, task: str, extremes: int, show: int, as_json: bool) -> None:
    found = explain_task(record, task, extremes=extremes)
    if as_json:
        ends = {end: [_scored(found, n) for n in getattr(found.found, end)] for end in ("raised", "lowered")}
        hypotheses = [asdict(one) for one in found.found.hypotheses]
        say_json({"run": record.identity, "task": task, "samples": len(found.scores), **ends, "hypotheses": hypotheses})
        return
    _hypotheses(found.found.hypotheses, f"what moved the loss on {task}, of {len(found.scores):,} samples")
    for end in ("raised", "lowered"):
        for number in getattr(found.found, end)[:show]:
            one = _scored(found, number)
            say(f"{end} it, {one['score']:+.3g} nats: {one['contributor']}, sample {one['sample']}")


def _scored(found: TaskExplanation, number: int) -> dict[str, Any]:
    who, score = found.contributors[number], found.scores[number]
    return {"contributor": who, "sample": found.samples[number], "score": score}


def _record(sample: str, sources: list[Source], tasks: Callable[[], list[TaskSource]]) -> str:
    name, _, number = sample.rpartition("/")
    if not name or not number.isdecimal():
        raise NoSuchSampleError(sample, "it is called DATASET/RECORD, the record's number counted from 0")
    parts = [part for source in sources for part in source.datasets() if part.fingerprint.startswith(name)]
    if len({part.fingerprint for part in parts}) > 1:
        raise NoSuchSampleError(sample, f"several datasets begin with {name!r}: give more of it")
    for part in parts:
        for one in part.numbered():
            if one.number == int(number):
                return one.text
    held_out = [] if parts else [one for one in tasks() if one.name == name]
    for place, text in enumerate(held_out[0].records() if held_out else ()):
        if place == int(number):
            return text
    known = parts or held_out
    raise NoSuchSampleError(sample, "it has no such record" if known else "the run has no such dataset or task")


def _json(found: TextExplanation, checked: tuple[str, Counterfactual] | None) -> dict[str, Any]:
    if checked is None:
        return asdict(found)
    what, came = checked
    return {**asdict(found), "check": {"what": what, **asdict(came), "chance": came.chance}}


def _hypotheses(found: list[Hypothesis], title: str) -> None:
    rows = [
        [one.end, one.grouping, one.group, f"{one.found} of {one.drawn}", f"{one.size:,} of {one.total:,}",
         f"{one.times:.1f}", f"{one.corrected:.2g}"]
        for one in found
    ]  # fmt: skip
    columns = ["end", "by", "group", "among the extremes", "among all", "times chance", "corrected p"]
    table(title, columns, rows, right=set(columns[3:]))


def _show(found: TextExplanation, checked: tuple[str, Counterfactual] | None, show: int) -> None:
    _hypotheses(found.hypotheses, f"what moved the loss, {found.loss:.4f} nats a token, of {found.samples:,} samples")
    for end, samples in (("raised", found.raised), ("lowered", found.lowered)):
        for one in samples[:show]:
            place = f"record {one.record} of {one.dataset[:12]}" + (f", piece {one.piece}" if one.piece else "")
            words = " ".join(one.text.split())[:_SHOWN_CHARACTERS]
            say(f"{end} it, {one.score:+.3g}: {one.contributor}, {place}: {words}")
    if checked is not None:
        what, came = checked
        others = ", ".join(f"{loss:.4f}" for loss in came.at_random)
        say(f"without {what}, {came.removed:,} of {came.total:,} records: {came.without:.4f} nats a token")
        say(f"without as many at random: {others}; as far by chance: p = {came.chance:.2g}")
