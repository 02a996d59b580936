"""The demo, start to end: register, train and meter, book, settle, audit. What it does is what the commands do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sqlmodel import Session

from attribution.record import RunRecord
from attribution.training.configuration import TrainingConfiguration
from attribution.training.sources import Source, TaskSource, records
from ledger import balances, registry
from ledger.audit import Audit, Check, audit
from ledger.cli.audit import FAILED
from ledger.cli.demo.materials import HeldOut, Material, Materials, build
from ledger.cli.options import stored_path
from ledger.cli.output import console as standard_console
from ledger.cli.train import NotBookedError
from ledger.database import Ledger
from ledger.models import ObjectiveTask
from ledger.money import Amount
from ledger.policies.terms import Terms
from ledger.registry import RegisteredDataset
from ledger.settlement import Settled, settle
from ledger.valuation import book_run
from ledger.valuation_entry import Valuation

if TYPE_CHECKING:
    from ledger.cli.demo.chain import DemoChain

OBJECTIVE = "news"
POOL, POOL_OF_TOKENS, TOKEN_DECIMALS = "10000.00 EUR", "10000.00 DUSD", 6
LEDGER, RUN, PICTURE = "ghostledger.db", "run", "values.png"


def configuration(seed: int) -> TrainingConfiguration:
    """The demo's training run: a small GPT-2 shape, one epoch, some two minutes on two cores."""
    return TrainingConfiguration(
        size="tiny",
        vocabulary=2048,
        context=128,
        batch_rows=16,
        learning_rate=2e-3,
        validation_rows=16,
        threads=2,  # fixed, because sums in another order round otherwise, and payouts are to repeat to the cent
        seed=seed,
    )


def run_demo(
    folder: Path, *, seed: int = 0, console: Console | None = None, chain: Callable[[], DemoChain] | None = None
) -> None:
    """Run the demo in `folder`, or beside it where that is taken (``folder-2`` …), and print what came of it.

    The same seed gives the same payouts. With a `chain` they are in its token, published there, and three contributors
    claim theirs. Raises `LedgerError` or `AttributionError` (a Ctrl-C while training leaves a
    partial record and `NotBookedError`), and `typer.Exit` with code 1 if the audit finds a fault.
    """
    out = console or standard_console()
    began = monotonic()
    place = _free(folder)
    out.rule("[bold]1  The data", align="left")
    materials = build(place / "data")
    with Ledger.create(place / LEDGER) as books:
        with books.writing() as session:
            supplied = {m.contributor: _register(session, books, m) for m in materials.contributors}
            tasks = registry.add_objective(session, OBJECTIVE, [_task(books, task) for task in materials.tasks]).tasks
        out.print(_registered_table(materials, supplied))
        out.print(_objective_line(tasks), markup=False)

        out.rule("[bold]2  One epoch, metered", align="left")
        record = _train(materials, supplied, tasks, configuration(seed), place / RUN, out)
        if not record.complete:
            raise NotBookedError(place / RUN / "record", record.stopped)
        gradients = 1 + int((record.steps.nodes - 1).sum())  # end nodes are shared with the neighbouring steps
        out.print(
            f"gap {_relative_gap(record):.1e} of the improvement; "
            f"{gradients:,} validation gradients for {record.steps.length.sum():,} steps",
            markup=False,
        )

        pool = Amount.parse(POOL) if chain is None else Amount.parse(POOL_OF_TOKENS, TOKEN_DECIMALS)
        out.rule(f"[bold]3  {pool} divided", align="left")
        with books.writing() as session:
            booked = book_run(session, place / RUN / "record")
        for finding in booked.findings:
            out.print(f"{'holds' if finding.ok else 'FAILS'}  {finding.axiom}: {finding.detail}", markup=False)
        with books.writing() as session:
            settled = settle(session, booked.run.id, Terms("pool", pool, negative="floor"))
        out.print(_payout_table(booked.valuation, settled))

        found_on_chain: list[Check] = []
        if chain is not None:
            out.rule("[bold]4  Published on a chain, and claimed", align="left")
            found_on_chain = _settle_on_chain(books, chain(), settled.outcome.funded, out)

        out.rule(f"[bold]{4 if chain is None else 5}  The audit", align="left")
        with books.reading() as session:
            found = audit(session)
        found = found.with_checks(found_on_chain)
        out.print(_audit_table(found))
    _draw(record, place / PICTURE)
    out.rule("[bold]Where it lies", align="left")
    for what, path in (
        ("database", LEDGER),
        ("run record", f"{RUN}/record"),
        ("model", f"{RUN}/model"),
        ("picture", PICTURE),
    ):
        out.print(f"{what:<11}{place / path}", markup=False, soft_wrap=True)
    out.print(f"{monotonic() - began:.0f} seconds in all", markup=False)
    if not found.ok:
        raise typer.Exit(FAILED)


def _settle_on_chain(books: Ledger, chain: DemoChain, funded: int, out: Console) -> list[Check]:
    """Have it claimed; returns how ledger and chain compare, and whether what was divided is all of what is there."""
    from ledger.cli.demo.chain import ASSET, settle_on_chain  # loads what the extra `chain` brings

    came = settle_on_chain(books, chain, out)
    compared = ", ".join(f"{count} {what}" for what, count in came.reconciliation.checked.items())
    differences = "; ".join(f"{one.kind} {one.what}" for one in came.reconciliation.differences)
    with books.reading() as session:
        parts = {
            kind: sum(balances.by_contributor(session, kind, ASSET.code).values()) for kind in ("in_flight", "paid")
        }
    said = " + ".join(f"{ASSET.format(amount)} {kind.replace('_', ' ')}" for kind, amount in parts.items())
    return [
        Check("chain", came.reconciliation.ok, differences or f"ledger and chain agree: {compared}"),
        Check("pool", sum(parts.values()) == funded, f"what the improvement was paid with is on the chain: {said}"),
    ]


def _free(folder: Path) -> Path:
    """The folder itself, or the first numbered name beside it that is not taken: nothing is overwritten."""
    for candidate in _names(folder):
        if not candidate.exists() or (candidate.is_dir() and not any(candidate.iterdir())):
            return candidate
    raise AssertionError("numbers do not end")


def _names(folder: Path) -> Iterator[Path]:
    yield folder
    for number in count(2):
        yield folder.with_name(f"{folder.name}-{number}")


def _register(session: Session, books: Ledger, material: Material) -> RegisteredDataset:
    registry.add_contributor(session, material.contributor, material.title)
    return registry.register_dataset(
        session,
        material.contributor,
        records(material.path),
        name=material.title,
        licence=material.licence,
        consent_given_at=books.clock(),
        paths=[stored_path(material.path, books)],
    )


def _task(books: Ledger, held_out: HeldOut) -> registry.Task:
    return registry.Task(
        held_out.task, records(held_out.path), [stored_path(held_out.path, books)], f"{held_out.weight:g}"
    )


def _train(
    materials: Materials,
    supplied: Mapping[str, RegisteredDataset],
    tasks: list[ObjectiveTask],
    configuration: TrainingConfiguration,
    out: Path,
    console: Console,
) -> RunRecord:
    from attribution.training import train  # loads torch, which only this step needs

    sources = [
        Source(m.contributor, (m.path,), (supplied[m.contributor].dataset.fingerprint,)) for m in materials.contributors
    ]
    held_out = [
        TaskSource(task.task, (task.path,), task.weight, row.fingerprint)
        for task, row in zip(materials.tasks, tasks, strict=True)
    ]
    return train(sources, held_out, configuration, out, console=console)


def _draw(record: RunRecord, path: Path) -> None:
    from attribution.training import draw  # loads matplotlib

    draw(record, path)


def _relative_gap(record: RunRecord) -> float:
    return abs(float(record.gap @ record.weights)) / abs(float(record.improvement @ record.weights))


def _objective_line(tasks: list[ObjectiveTask]) -> str:
    parts = " and ".join(f"{task.record_count} articles of {task.task} (weight {task.weight})" for task in tasks)
    return f"objective {OBJECTIVE}: {parts}, held out from everybody"


def _registered_table(materials: Materials, supplied: Mapping[str, RegisteredDataset]) -> Table:
    table = Table(header_style="bold")
    for name in ("contributor", "text", "licence"):
        table.add_column(name, overflow="fold")
    for name in ("records", "bytes"):
        table.add_column(name, justify="right")
    table.add_column("shares records with", overflow="fold")
    for material in materials.contributors:
        found = supplied[material.contributor]
        shared = ", ".join(f"{overlap.contributor} ({overlap.shared_records})" for overlap in found.overlaps)
        dataset = found.dataset
        table.add_row(
            material.contributor,
            material.title,
            dataset.licence,
            f"{dataset.record_count:,}",
            f"{dataset.byte_count:,}",
            shared,
        )
    return table


def _payout_table(valuation: Valuation, settled: Settled) -> Table:
    """Rows supplied, value per task and weighted, share of the pool, payout: best first."""
    asset, paid = settled.terms.amount.asset, {payout.contributor: payout for payout in settled.outcome.payouts}
    table = Table(header_style="bold", show_footer=True)
    total = sum(payout.paid for payout in settled.outcome.payouts)
    table.add_column("contributor", "all")
    table.add_column("rows", f"{sum(part.rows for part in valuation.contributors):,}", justify="right")
    for number, task in enumerate(valuation.tasks):
        worth = sum(part.task_values[number] for part in valuation.contributors)
        table.add_column(f"{task.task}, nats", _nats(worth), justify="right")
    table.add_column("value, nats", _nats(sum(part.value for part in valuation.contributors)), justify="right")
    table.add_column("share", f"{total / settled.outcome.funded:.2%}", justify="right")
    table.add_column(f"payout, {asset.code}", f"[bold]{asset.format(total)}", justify="right")
    for part in sorted(valuation.contributors, key=lambda part: (-part.value, part.contributor)):
        payout = paid[part.contributor]
        table.add_row(
            part.contributor,
            f"{part.rows:,}",
            *(_nats(value) for value in part.task_values),
            _nats(part.value),
            f"{payout.paid / settled.outcome.funded:.2%}",
            asset.format(payout.paid),
        )
    return table


def _audit_table(found: Audit) -> Table:
    """Every check, and the verdict as the caption."""
    verdict = "[bold green]everything holds" if found.ok else "[bold red]NOT EVERYTHING HOLDS"
    table = Table(
        show_header=False,
        caption=f"{verdict}[/]; {found.entries:,} entries, head {found.head[:16]}",
        caption_justify="left",
        caption_style="",
    )
    for check in found.checks:
        mark = "[green]holds" if check.ok else "[bold red]FAILS"
        table.add_row(mark, escape(check.name), escape(check.detail))
    return table


def _nats(piconats: int) -> str:
    return f"{piconats / 10**12:+.4f}"
