"""A contributor's statement: what they supplied, what it was worth in each run, what they are owed and why."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from sqlmodel import Session

from ledger import balances, journal, personal, registry, settlement, valuation
from ledger.instants import format_instant
from ledger.models import Commodity, Dataset
from ledger.money import NAT, format_nats, format_units
from ledger.policies.terms import Terms
from ledger.settlement import Payout


@dataclass(frozen=True)
class SuppliedDataset:
    """A dataset, and its changes of consent as (change, instant)."""

    dataset: Dataset
    registered_at: str
    consents: list[tuple[str, str]]
    consent_now: bool


@dataclass(frozen=True)
class TaskValue:
    """What the contributor did to one task, in the task's own 1e-12 nat."""

    task: str
    weight: str
    value: int
    improvement: int  # of the whole run
    share: Fraction | None  # value / improvement; None where there was no improvement


@dataclass(frozen=True)
class SettledRun:
    """What one settlement of a run came to for the contributor, minor units."""

    entry: int
    settled_at: str
    terms: Terms
    payout: Payout
    reversed_by: int | None


@dataclass(frozen=True)
class ValuedRun:
    """A run in which the contributor's data took part. Values are in 1e-12 nat, weighted over tasks."""

    run: str
    entry: int
    began_at: str
    complete: bool
    reversed_by: int | None
    rows: int
    rows_of_all: int
    datasets: list[str]
    value: int
    standard_error: int | None  # of a sampled value
    improvement: int
    share: Fraction | None
    tasks: list[TaskValue]
    settlements: list[SettledRun]


@dataclass(frozen=True)
class Balance:
    """Where a contributor stands in one asset, minor units."""

    asset: str
    exponent: int
    payable: int  # owed to the contributor
    receivable: int  # owed by the contributor, netted from what is earned next


@dataclass(frozen=True)
class Statement:
    """Everything that the books say about one contributor."""

    contributor: str
    name: str
    made_at: str
    datasets: list[SuppliedDataset]
    runs: list[ValuedRun]
    balances: list[Balance]
    head: str  # the journal's last hash when the statement was made

    def as_json(self) -> dict[str, Any]:
        """The same as plain values: money and nats as exact decimal text, shares as rounded decimals."""
        return {
            "contributor": self.contributor,
            "name": self.name,
            "made_at": self.made_at,
            "head": self.head,
            "datasets": [_dataset_json(supplied) for supplied in self.datasets],
            "runs": [_run_json(run) for run in self.runs],
            "balances": [
                {
                    "asset": balance.asset,
                    "payable": format_units(balance.payable, balance.exponent),
                    "receivable": format_units(balance.receivable, balance.exponent),
                }
                for balance in self.balances
            ],
        }


def statement(session: Session, contributor: str) -> Statement:
    """A contributor's statement. Raises `UnknownContributorError`."""
    owner = registry.contributor(session, contributor)
    now = format_instant(session.info["clock"]())
    supplied = [
        SuppliedDataset(
            dataset,
            registry.recorded_at(session, dataset),
            [(consent.change, consent.effective_at) for consent in registry.consents(session, dataset.fingerprint)],
            registry.had_consent(session, dataset.fingerprint, now),
        )
        for dataset in registry.datasets(session, owner.id)
    ]
    valued = [_valued(session, run.id, owner.id) for run in valuation.runs(session)]
    return Statement(
        contributor=owner.id,
        name=personal.name_of(session, owner.id) or owner.id,
        made_at=now,
        datasets=supplied,
        runs=[run for run in valued if run is not None],
        balances=_balances(session, owner.id),
        head=journal.head(session)[1],
    )


def _valued(session: Session, identity: str, contributor: str) -> ValuedRun | None:
    run = valuation.run(session, identity)
    worth = valuation.valuation_of(session, run)
    part = next((part for part in worth.contributors if part.contributor == contributor), None)
    if part is None:
        return None
    reversal = journal.reversal_of(session, run.entry)
    return ValuedRun(
        run=run.id,
        entry=run.entry,
        began_at=run.began_at,
        complete=run.complete,
        reversed_by=reversal.sequence if reversal else None,
        rows=part.rows,
        rows_of_all=sum(other.rows for other in worth.contributors),
        datasets=part.datasets,
        value=part.value,
        standard_error=part.standard_error,
        improvement=worth.improvement,
        share=_share(part.value, worth.improvement),
        tasks=[
            TaskValue(task.task, task.weight, value, task.improvement, _share(value, task.improvement))
            for task, value in zip(worth.tasks, part.task_values, strict=True)
        ],
        settlements=_settlements(session, run.id, contributor),
    )


def _settlements(session: Session, run: str, contributor: str) -> list[SettledRun]:
    made = []
    for attempt in settlement.attempts(session, run):
        outcome = settlement.outcome_of(session, attempt)
        payout = next(payout for payout in outcome.payouts if payout.contributor == contributor)
        reversal = journal.reversal_of(session, attempt.entry)
        made.append(
            SettledRun(
                entry=attempt.entry,
                settled_at=journal.entry(session, attempt.entry).recorded_at,
                terms=settlement.terms_of(session, attempt),
                payout=payout,
                reversed_by=reversal.sequence if reversal else None,
            )
        )
    return made


def _balances(session: Session, contributor: str) -> list[Balance]:
    payable = balances.balances(session, f"payable:{contributor}")
    receivable = balances.balances(session, f"receivable:{contributor}")
    found = []
    for code in sorted({*payable, *receivable} - {NAT}):
        commodity = session.get(Commodity, code)
        assert commodity is not None  # a foreign key holds it
        found.append(Balance(code, commodity.exponent, payable.get(code, 0), receivable.get(code, 0)))
    return found


def _share(value: int, improvement: int) -> Fraction | None:
    return Fraction(value, improvement) if improvement else None


def _dataset_json(supplied: SuppliedDataset) -> dict[str, Any]:
    dataset = supplied.dataset
    return {
        "fingerprint": dataset.fingerprint,
        "name": dataset.name,
        "licence": dataset.licence,
        "records": dataset.record_count,
        "bytes": dataset.byte_count,
        "paths": dataset.paths,
        "registered_at": supplied.registered_at,
        "consents": [{"change": change, "effective_at": at} for change, at in supplied.consents],
        "consent_now": supplied.consent_now,
    }


def _run_json(run: ValuedRun) -> dict[str, Any]:
    return {
        "run": run.run,
        "entry": run.entry,
        "began_at": run.began_at,
        "complete": run.complete,
        "reversed_by": run.reversed_by,
        "rows": run.rows,
        "rows_of_all": run.rows_of_all,
        "datasets": run.datasets,
        "value_nats": format_nats(run.value),
        "standard_error_nats": None if run.standard_error is None else format_nats(run.standard_error),
        "improvement_nats": format_nats(run.improvement),
        "share": _rounded(run.share),
        "tasks": [
            {
                "task": task.task,
                "weight": task.weight,
                "value_nats": format_nats(task.value),
                "improvement_nats": format_nats(task.improvement),
                "share": _rounded(task.share),
            }
            for task in run.tasks
        ],
        "settlements": [_settlement_json(made) for made in run.settlements],
    }


def _settlement_json(made: SettledRun) -> dict[str, Any]:
    asset, payout = made.terms.amount.asset, made.payout
    figures = {name: getattr(payout, name) for name in ("share", "netted", "paid", "forgiven", "carried")}
    return {
        "entry": made.entry,
        "settled_at": made.settled_at,
        "reversed_by": made.reversed_by,
        "terms": str(made.terms),
        "asset": asset.code,
        **{name: asset.format(figure) for name, figure in figures.items()},
    }


def _rounded(share: Fraction | None) -> float | None:
    return None if share is None else round(float(share), 6)
