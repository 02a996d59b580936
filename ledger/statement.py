"""A contributor's statement: what they supplied, what it was worth in each run, what they are owed and why.

It is made from the facts about the contributor alone (`ledger/facts.py`), so that whoever proves these facts can make
the same statement again without the books (`ledger/proofs/verification.py`).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from sqlmodel import Session

from ledger import evidence, personal
from ledger.accounts import KINDS, split_name
from ledger.facts import Fact, Facts
from ledger.instants import format_instant
from ledger.lines import Line
from ledger.models import Dataset
from ledger.policies.outcome import Payout
from ledger.policies.terms import Terms, read_terms
from ledger.statement_chain import OnChains, on_chains
from ledger.statement_json import as_json
from ledger.valuation_entry import ContributorWorth, TaskWorth
from ledger.valuation_names import is_nats


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
    """What one settlement came to for the contributor, minor units. It may be about several runs together."""

    entry: int
    settled_at: str
    runs: list[str]
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
class Claim:
    """A dispute that the contributor is a side of, and how it was resolved; the amount in minor units."""

    entry: int
    claimant: str
    respondent: str | None  # None where the claim is to the house's part
    settlement: int
    asset: str
    exponent: int
    amount: int
    evidence: str
    resolved_by: int | None
    outcome: str | None


@dataclass(frozen=True)
class Movement:
    """One posting on one of the contributor's accounts in money, minor units, positive where the balance grew."""

    entry: int
    kind: str
    event_at: str
    recorded_at: str
    account: str  # its kind
    asset: str
    exponent: int
    amount: int
    reason: str | None
    reference: str | None


@dataclass(frozen=True)
class Balance:
    """Where a contributor stands in one asset, minor units: what each kind of account holds, on its normal side."""

    asset: str
    exponent: int
    accounts: Mapping[str, int]

    @property
    def payable(self) -> int:
        """Owed to the contributor."""
        return self.accounts.get("payable", 0)

    @property
    def receivable(self) -> int:
        """Owed by the contributor, netted from what is earned next."""
        return self.accounts.get("receivable", 0)


@dataclass(frozen=True)
class Statement:
    """Everything that the books say about one contributor."""

    contributor: str
    name: personal.Opening | None  # None where it was erased
    made_at: str
    datasets: list[SuppliedDataset]
    payees: dict[str, int]  # who is paid in the contributor's stead, in which parts; empty for themselves
    runs: list[ValuedRun]
    disputes: list[Claim]
    on_chains: OnChains
    balances: list[Balance]
    movements: list[Movement]
    entries: int  # in the journal when the statement was made
    head: str  # the last one's hash

    def as_json(self) -> dict[str, Any]:
        """The same as plain values: money and nats as exact decimal text, shares as rounded decimals."""
        return as_json(self)


def statement(session: Session, contributor: str, through: int | None = None) -> Statement:
    """A contributor's statement, as of the first `through` entries, or all. Raises `UnknownContributorError`."""
    found = evidence.facts(session, contributor, through)
    name = personal.opening(session, found.contributor)
    return restate(found, made_at=format_instant(session.info["clock"]()), name=name)


def restate(facts: Facts, *, made_at: str, name: personal.Opening | None) -> Statement:
    """The statement that facts make. Pure.

    Raises `KeyError`, `TypeError`, `ValueError` or a `LedgerError` where an entry does not say what one of its kind
    does.
    """
    exponents = {fact.payload["code"]: int(fact.payload["exponent"]) for fact in facts.of("commodity")}
    return Statement(
        contributor=facts.contributor,
        name=name,
        made_at=made_at,
        datasets=_datasets(facts, made_at),
        payees=_payees(facts),
        runs=_runs(facts),
        disputes=_disputes(facts, exponents),
        on_chains=on_chains(facts, exponents, made_at),
        balances=_balances(facts, exponents),
        movements=[moved for fact in facts.facts for moved in _movements(fact, exponents)],
        entries=facts.entries,
        head=facts.head,
    )


def _datasets(facts: Facts, made_at: str) -> list[SuppliedDataset]:
    changes: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for fact in sorted(facts.of("consent"), key=lambda fact: (fact.payload["effective_at"], fact.sequence)):
        changes[fact.payload["dataset"]].append((fact.payload["change"], fact.payload["effective_at"]))
    made = []
    for fact in facts.of("dataset"):
        dataset = Dataset(entry=fact.sequence, **fact.payload)
        consents = changes[dataset.fingerprint]
        effective = [change for change, at in consents if at <= made_at]
        made.append(SuppliedDataset(dataset, fact.recorded_at, consents, effective[-1:] == ["given"]))
    return made


def _payees(facts: Facts) -> dict[str, int]:
    last = [fact.payload["payees"] for fact in facts.of("estate")][-1:] or ["{}"]
    return dict(sorted(json.loads(last[0]).items()))


def _runs(facts: Facts) -> list[ValuedRun]:
    settled: dict[str, list[SettledRun]] = defaultdict(list)
    for fact in facts.of("settlement"):
        for part in fact.parts:
            made = SettledRun(
                entry=fact.sequence,
                settled_at=fact.recorded_at,
                runs=list(fact.payload["runs"]),
                terms=read_terms(fact.payload["terms"]),
                payout=Payout.read(facts.contributor, part),
                reversed_by=facts.reversed_by(fact.sequence),
            )
            for run in made.runs:
                settled[run].append(made)
    return [_run(facts, fact, part, settled[fact.subject]) for fact in facts.of("valuation") for part in fact.parts]


def _run(facts: Facts, fact: Fact, part: Mapping[str, Any], settlements: list[SettledRun]) -> ValuedRun:
    worth = ContributorWorth.model_validate(part)
    improvement = int(fact.payload["improvement"])
    return ValuedRun(
        run=fact.payload["run"],
        entry=fact.sequence,
        began_at=fact.payload["began_at"],
        complete=fact.payload["complete"],
        reversed_by=facts.reversed_by(fact.sequence),
        rows=worth.rows,
        rows_of_all=fact.payload["rows"],
        datasets=worth.datasets,
        value=worth.value,
        standard_error=worth.standard_error,
        improvement=improvement,
        share=_share(worth.value, improvement),
        tasks=[
            TaskValue(task.task, task.weight, value, task.improvement, _share(value, task.improvement))
            for task, value in zip(map(TaskWorth.model_validate, fact.payload["tasks"]), worth.task_values, strict=True)
        ],
        settlements=settlements,
    )


def _disputes(facts: Facts, exponents: Mapping[str, int]) -> list[Claim]:
    resolutions = {fact.payload["dispute"]: fact for fact in facts.of("resolution")}
    made = []
    for fact in facts.of("dispute"):
        said, resolution = fact.payload, resolutions.get(fact.sequence)
        made.append(
            Claim(
                entry=fact.sequence,
                claimant=said["claimant"],
                respondent=said["respondent"],
                settlement=said["settlement"],
                asset=said["asset"],
                exponent=exponents[said["asset"]],
                amount=int(said["amount"]),
                evidence=said["evidence"],
                resolved_by=resolution.sequence if resolution else None,
                outcome=resolution.payload["outcome"] if resolution else None,
            )
        )
    return made


def _movements(fact: Fact, exponents: Mapping[str, int]) -> Iterable[Movement]:
    for line in fact.lines:
        if not is_nats(line.commodity):
            yield Movement(
                entry=fact.sequence,
                kind=fact.kind,
                event_at=fact.event_at,
                recorded_at=fact.recorded_at,
                account=split_name(line.account)[0],
                asset=line.commodity,
                exponent=exponents[line.commodity],
                amount=_grown(line),
                reason=fact.reason,
                reference=fact.reference,
            )


def _balances(facts: Facts, exponents: Mapping[str, int]) -> list[Balance]:
    sums: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for fact in facts.facts:
        for line in fact.lines:
            sums[line.commodity][split_name(line.account)[0]] += _grown(line)
    return [Balance(code, exponents[code], dict(sums[code])) for code in sorted(sums) if not is_nats(code)]


def _grown(line: Line) -> int:
    return line.amount if line.side == KINDS[split_name(line.account)[0]].normal_side else -line.amount


def _share(value: int, improvement: int) -> Fraction | None:
    return Fraction(value, improvement) if improvement else None
