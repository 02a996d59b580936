"""`ghostledger predict`: the loss that a run would have reached without some of its data, by its values."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from attribution.uses.predict import Predicted, Prediction
from attribution.uses.predict import predict as predicted
from ledger.cli.options import AsJson
from ledger.cli.output import say, say_json, table
from ledger.cli.progress import advancing
from ledger.cli.run_data import run_folder, run_record

EXAMPLE = "Example: ghostledger predict runs/monday --without bob --without carol"

_WEIGHTED = "all, weighted"


def predict(
    run: Annotated[Path, typer.Argument(help="The folder of a run, or of its record.")],
    without: Annotated[
        list[str] | None, typer.Option(help="A contributor who is left out; repeat for more of them.")
    ] = None,
    without_records: Annotated[
        Path | None,
        typer.Option(metavar="KEEP", help="Leave out what this keep list drops, by the scores of a run with --scores."),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(metavar="EVERY", help="One valuation: 1, more steps, or run, as train --every; all, else."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Predict the losses, had some of the data not been trained on: the loss at the end, plus the values of the absent.

    Nothing is trained. Values divide what the run did, and are no forecast where others could make up for who is
    missing, or nobody could: leave them out and see, before anything depends on it.
    """
    record = run_record(run)
    total = (record.details.get("samples") or {}).get("scores") if without_records is not None else None
    with advancing(total, "reading scores") as advance:
        found = predicted(record, without or [], by=by, run=run_folder(run), keep=without_records, advance=advance)
    if as_json:
        say_json(_json(found))
    else:
        _show(found)


def _json(found: Predicted) -> dict[str, Any]:
    return {
        "run": found.run,
        "without": found.without,
        "records": None
        if found.records is None
        else [
            {
                "contributor": one.name,
                "records": one.kept.units + one.dropped.units,
                "dropped": one.dropped.units,
                "unscored": one.dropped.unscored,
                "score": one.dropped.score,
            }
            for one in found.records
        ],
        "telescopes": found.telescopes,
        "loss_before": _by_task(found, found.before),
        "loss_after": _by_task(found, found.after),
        "predictions": [
            {
                "by": one.by,
                "loss": _by_task(found, one.loss),
                "change": _by_task(found, one.change),
                "house": _by_task(found, one.house),
                "gap": _by_task(found, one.gap),
                "standard_error_at_most": None if one.standard_error is None else _by_task(found, one.standard_error),
            }
            for one in found.predictions
        ],
    }


def _by_task(found: Predicted, nats: Any) -> dict[str, Any]:
    return {"weighted": float(nats @ found.weights), "tasks": dict(zip(found.tasks, nats.tolist(), strict=True))}


def _show(found: Predicted) -> None:
    columns = ["task", "before", "after", *(f"without them, by {_called(one)}" for one in found.predictions)]
    rows = [
        [task, f"{found.before[i]:.4f}", f"{found.after[i]:.4f}"]
        + [f"{one.loss[i]:.4f} ({one.change[i]:+.4f})" for one in found.predictions]
        for i, task in enumerate(found.tasks)
    ]
    if len(rows) > 1:
        weights = found.weights
        means = [f"{one.loss @ weights:.4f} ({one.change @ weights:+.4f})" for one in found.predictions]
        rows.append([_WEIGHTED, f"{found.before @ weights:.4f}", f"{found.after @ weights:.4f}", *means])
    table("losses in nats, and their change", columns, rows, right=set(columns[1:]), section=len(found.tasks))
    if found.without:
        say(f"without {', '.join(found.without)}")
    for held in found.records or []:
        if held.dropped.units:
            never = f", {held.dropped.unscored:,} of them never scored" if held.dropped.unscored else ""
            say(f"without {held.dropped.units:,} of {held.dropped.units + held.kept.units:,} of {held.name}{never}")
    for one in found.predictions:
        error = (
            "" if one.standard_error is None else f", standard error at most {one.standard_error @ found.weights:.4f}"
        )
        house, gap = float(one.house @ found.weights), float(one.gap @ found.weights)
        say(f"by {_called(one)}: house {house:+.4f} and gap {gap:+.4f} stay as they were{error}")
    if not found.telescopes:
        say("each step had a validation batch of its own: the losses are those of the first and of the last")


def _called(one: Prediction) -> str:
    if one.by.isdecimal():
        return "step values" if one.by == "1" else f"values of {one.by} steps"
    return "run values" if one.by == "run" else f"{one.by} values"
