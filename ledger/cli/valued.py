"""How a booked run is shown: by `train` and by `import-run`."""

from __future__ import annotations

from dataclasses import asdict

from ledger.cli.output import say, say_json, table
from ledger.money import format_nats
from ledger.policies.terms import Worth
from ledger.valuation import Booked


def show_booked(booked: Booked, as_json: bool) -> None:
    """Print what a run made everybody's data worth."""
    valuation, run = booked.valuation, booked.run
    if as_json:
        say_json(
            {
                "entry": run.entry,
                "repeated": booked.repeated,
                "path": run.path,
                **valuation.model_dump(mode="json"),
                "axioms": [asdict(finding) for finding in booked.findings],
                **({"other_valuations": {one.name: one.entry for one in booked.others}} if booked.others else {}),
            }
        )
        return
    worth: Worth = valuation.worth
    tasks = [f"{task.task} × {float(task.weight):g}" for task in valuation.tasks]
    rows = [
        [
            part.contributor,
            f"{part.rows:,}",
            *(format_nats(value) for value in part.task_values),
            format_nats(part.value, part.standard_error),
            f"{part.value / worth.improvement:.2%}" if worth.improvement else "–",
        ]
        for part in sorted(valuation.contributors, key=lambda part: (-part.value, part.contributor))
    ]
    for name, by_task, total in (
        ("house", [task.house for task in valuation.tasks], valuation.house),
        ("gap", [task.gap for task in valuation.tasks], valuation.gap),
        ("improvement", [task.improvement for task in valuation.tasks], valuation.improvement),
    ):
        share = f"{total / worth.improvement:.2%}" if worth.improvement else "–"
        rows.append([name, "", *(format_nats(value) for value in by_task), format_nats(total), share])
    columns = ["contributor", "rows", *tasks, "value", "share"]
    table(
        "values in nats; positive = lowered the validation loss",
        columns,
        rows,
        right=set(columns[1:]),
        section=len(valuation.contributors),
    )
    for finding in booked.findings:
        say(f"{'holds' if finding.ok else 'fails'}  {finding.axiom}: {finding.detail}")
    partial = "" if valuation.complete else f", partial: {valuation.stopped}"
    again = ", booked before" if booked.repeated else ""
    say(f"run {run.id} is entry {run.entry}{again}{partial}")
    for other in booked.others:
        say(f"its valuation {other.name!r} is entry {other.entry}: ghostledger valuation list {run.id[:12]}")
