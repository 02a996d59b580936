"""A contributor's statement: what they supplied, what it was worth in each run, what they are owed and why.

It is made from the facts about the contributor alone (`ledger/facts.py`), so that whoever proves these facts can make
the same statement again without the books (`ledger/proofs/verification.py`).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session

from ledger import evidence, personal
from ledger.accounts import KINDS, split_name
from ledger.facts import Fact, Facts
from ledger.instants import format_instant
from ledger.lines import Line
from ledger.models import Dataset
from ledger.statement_chain import OnChains, on_chains
from ledger.statement_json import as_json
from ledger.statement_runs import ValuedRun, runs
from ledger.valuation_names import is_nats


@dataclass(frozen=True)
class SuppliedDataset:
    """A dataset, and its changes of consent as (change, instant)."""

    dataset: Dataset
    registered_at: str
    consents: list[tuple[str, str]]
    consent_now: bool


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
    calls_for: str | None = None  # the valuation by which the claimant wants to be paid
    payout: int | None = None  # what the claimant would have been paid by it, where that was decided


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
        runs=runs(facts),
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
                calls_for=said.get("calls_for"),
                payout=int(resolution.payload["payout"]) if resolution and "payout" in resolution.payload else None,
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
