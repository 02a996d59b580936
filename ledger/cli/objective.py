"""`ghostledger objective`: what runs are measured on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import typer
from sqlmodel import Session

from attribution.training.sources import records
from ledger import registry
from ledger.cli.options import DEFAULT_LEDGER, AsJson, Encoding, LedgerPlace, TextField, stored_path
from ledger.cli.output import say, say_json, table
from ledger.cli.progress import watched
from ledger.database import Ledger
from ledger.errors import LedgerError

objective = typer.Typer(help="Add and list objectives: held-out text that runs are measured on.")

_WEIGHTED = re.compile(r"(?P<path>.+):(?P<weight>[0-9]+(?:\.[0-9]+)?)")


class TaskOptionError(LedgerError):
    """A task given on the command line cannot be read, or the weights do not sum to 1."""


@dataclass(frozen=True)
class _Given:
    name: str
    path: Path
    weight: str | None

    @classmethod
    def of(cls, option: str) -> _Given:
        name, equals, rest = option.partition("=")
        if not equals or not name or not rest:
            raise TaskOptionError(f"--task {option}: must be NAME=PATH or NAME=PATH:WEIGHT")
        weighted = _WEIGHTED.fullmatch(rest)
        return cls(name, Path(weighted["path"] if weighted else rest), weighted["weight"] if weighted else None)


@objective.command(
    epilog="Example: ghostledger objective add news --task business=held/business:0.5 --task sport=held/sport:0.5"
)
def add(
    name: Annotated[str, typer.Argument(help="What to call the objective.")],
    task: Annotated[
        list[str],
        typer.Option(metavar="NAME=PATH[:WEIGHT]", help="A task: its held-out text and its weight. Give one or more."),
    ],
    text_field: TextField = "text",
    encoding: Encoding = "utf-8",
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Add an objective of one or more tasks. Weights sum to 1; without any, all tasks weigh the same.

    Held-out text that is also in a registered dataset is reported: who trains on the test is paid for copying.
    """
    given = [_Given.of(option) for option in task]
    weights = _weights(given)

    def work(session: Session) -> registry.RegisteredObjective:
        tasks = [
            registry.Task(
                name=one.name,
                records=watched(records(one.path, text_field=text_field, encoding=encoding), str(one.path)),
                paths=[stored_path(one.path, books)],
                weight=weight,
                text_field=text_field,
                encoding=encoding,
            )
            for one, weight in zip(given, weights, strict=True)
        ]
        return registry.add_objective(session, name, tasks)

    with Ledger.open(ledger) as books:
        added = books.transact(work)
    rows = [
        {
            "task": row.task,
            "weight": row.weight,
            "records": row.record_count,
            "bytes": row.byte_count,
            "fingerprint": row.fingerprint,
            "shared_with": [
                {"contributor": leak.contributor, "dataset": leak.fingerprint, "shared_records": leak.shared_records}
                for leak in added.leaks.get(row.task, [])
            ],
        }
        for row in added.tasks
    ]
    if as_json:
        say_json({"objective": added.objective.id, "entry": added.objective.entry, "tasks": rows})
        return
    columns = ["task", "weight", "records", "bytes", "fingerprint"]
    table(
        f"objective {added.objective.id}",
        columns,
        [[row[c] for c in columns] for row in rows],
        right={"records", "bytes"},
    )
    for name_of_task, leaks in added.leaks.items():
        for leak in leaks:
            say(
                f"warning: {leak.shared_records:,} records of task {name_of_task} are also in {leak.name!r} of "
                f"{leak.contributor}; training on them would be paid as teaching"
            )


@objective.command("list", epilog="Example: ghostledger objective list --json")
def list_(ledger: LedgerPlace = DEFAULT_LEDGER, as_json: AsJson = False) -> None:
    """List all objectives and their tasks."""
    with Ledger.open(ledger) as books, books.reading() as session:
        found = [
            {
                "objective": row.id,
                "task": task.task,
                "weight": task.weight,
                "records": task.record_count,
                "bytes": task.byte_count,
                "fingerprint": task.fingerprint,
            }
            for row in registry.objectives(session)
            for task in registry.objective_tasks(session, row.id)
        ]
    if as_json:
        say_json(found)
    else:
        columns = ["objective", "task", "weight", "records", "bytes", "fingerprint"]
        table(None, columns, [[row[c] for c in columns] for row in found], right={"records", "bytes"})


def _weights(given: list[_Given]) -> list[str]:
    stated = [one.weight for one in given if one.weight is not None]
    if not stated:
        return ["1"] * len(given)
    if len(stated) < len(given):
        missing = next(one.name for one in given if one.weight is None)
        raise TaskOptionError(f"--task {missing}: has no weight where others have one; give all or none")
    total = sum(Fraction(weight) for weight in stated)
    if total != 1:
        raise TaskOptionError(f"--task: the weights {' + '.join(stated)} sum to {float(total):g}, not to 1")
    return stated
