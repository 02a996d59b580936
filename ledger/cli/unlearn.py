"""`ghostledger unlearn`: a contributor withdraws; a checkpoint without what its data did, and the ledger's entry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from sqlmodel import Session

from attribution.record import RunRecord
from ledger.cli import withdrawals
from ledger.cli.options import DEFAULT_LEDGER, AsJson, LedgerPlace
from ledger.cli.output import say, say_json, table
from ledger.cli.progress import advancing
from ledger.cli.run_data import kept_sources, run_folder, run_record, run_sources
from ledger.cli.run_tasks import run_tasks
from ledger.cli.withdrawals import Withdrawal
from ledger.database import Ledger
from ledger.errors import LedgerError
from ledger.instants import format_instant, parse_instant

if TYPE_CHECKING:
    from attribution.uses.unlearn import Unlearned

EXAMPLE = "Example: ghostledger unlearn runs/monday alice --out runs/monday-without-alice --withdraw 2026-06-01"


class WithdrawalOptionError(LedgerError):
    """A date to withdraw from, and no withdrawal."""

    def __init__(self) -> None:
        super().__init__("give --withdraw or --no-withdraw, not both")


def unlearn(
    run: Annotated[Path, typer.Argument(help="The folder of a run that was trained with --displacements.")],
    contributor: Annotated[str, typer.Argument(help="Who withdraws: a contributor, or group, of the run.")],
    out: Annotated[Path, typer.Option(help="A new folder for the checkpoint and its report.")],
    strength: Annotated[
        float | None, typer.Option(help="How much of what it did to take back, 0 to 1; 0.1 where not given.")
    ] = None,
    repair_steps: Annotated[
        int | None, typer.Option(help="Steps of training on the others' data after it; a tenth of the run's, else.")
    ] = None,
    repair_rate: Annotated[
        float | None, typer.Option(metavar="LR", help="Their learning rate; else that with which the run ended.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the repair's batches.")] = 0,
    keep: Annotated[
        Path | None, typer.Option(help="The keep list that the run was trained on, where it was on one.")
    ] = None,
    withdraw: Annotated[
        str | None, typer.Option(metavar="DATE", help="From when on the consent ends; now where not given.")
    ] = None,
    no_withdraw: Annotated[
        bool, typer.Option("--no-withdraw", help="Book nothing: write the checkpoint only.")
    ] = False,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Take back what a contributor's data did to a model, repair it on the others' data, and book the withdrawal.

    The estimate ignores how the others' gradients would have been without it: compare with training anew where it
    matters. Consent to the contributor's datasets in the run ends last, when the checkpoint is written, by entries that
    name it. The contributor's own data is not read.
    """
    from attribution.uses.unlearn import Plan  # loads torch, which few other commands need
    from attribution.uses.unlearn import unlearn as unlearned
    from attribution.uses.unlearning import STRENGTH

    if withdraw is not None and no_withdraw:
        raise WithdrawalOptionError
    plan = Plan(STRENGTH if strength is None else strength, repair_steps, repair_rate, seed)
    record = run_record(run)
    with Ledger.open(ledger) as books:
        at = format_instant(books.clock()) if withdraw is None else parse_instant(withdraw)
        tasks = run_tasks(books, record)
        if not no_withdraw:
            with books.reading() as session:
                withdrawals.check(session, withdrawals.supplied(session, record, contributor), at)
        others = [name for name in record.contributors if name != contributor]
        sources = [] if plan.steps == 0 else kept_sources(record, run_sources(books, record, others), keep)
        with advancing(None, "repairing") as advance:
            found = unlearned(record, run_folder(run), sources, tasks, contributor, out, plan, advance=advance)
        booked = [] if no_withdraw else _book(books, record, found, at)
    if as_json:
        say_json({**found.json(), "checkpoint": str(out), "withdrawals": [_described(one) for one in booked]})
    else:
        _show(found, booked)


def _book(books: Ledger, record: RunRecord, found: Unlearned, at: str) -> list[Withdrawal]:
    """The withdrawals, tied to the checkpoint by what its parameters hash to."""
    reason = f"unlearned from run {record.identity}; the checkpoint's parameters: {found.forgotten.parameters_after}"

    def work(session: Session) -> list[Withdrawal]:
        datasets = withdrawals.supplied(session, record, found.forgotten.contributor)
        return withdrawals.withdraw(session, datasets, at, reason)

    return books.transact(work)


def _described(one: Withdrawal) -> dict[str, Any]:
    return {
        "dataset": one.dataset,
        "contributor": one.contributor,
        "since": one.since,
        "entry": one.entry,
        "before": one.before,
    }


def _show(found: Unlearned, booked: list[Withdrawal]) -> None:
    forgotten, valuations = found.forgotten, list(found.predicted)
    rows = [
        [
            task,
            f"{forgotten.before[t]:.6f}",
            *(f"{found.predicted[by][t]:+.6f}" for by in valuations),
            f"{forgotten.slope[t]:+.6f}",
            f"{forgotten.estimate[t] - forgotten.before[t]:+.6f}",
            f"{forgotten.after[t] - forgotten.before[t]:+.6f}",
        ]
        for t, task in enumerate(forgotten.tasks)
    ]
    columns = ["task", "loss", *(f"without it, by values ({by})" for by in valuations)]
    columns += ["estimate, predicted", "estimate, measured", "after repair, measured"]
    title = f"{forgotten.contributor} taken back by {forgotten.strength:g}, {found.steps:,} steps of repair: nats"
    table(title, columns, rows, right=columns[1:])
    say(f"the checkpoint: {found.path}, parameters {forgotten.parameters_after[:12]}")
    for one in booked:
        what = f"consent to dataset {one.dataset[:12]} of {one.contributor} is withdrawn from {one.since}"
        say(f"{what}: entry {one.entry}{', booked before' if one.before else ''}")
