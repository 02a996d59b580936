"""From values to payables: who is paid what for a run, and why not.

Two entries. *Funding*: debit the buyer, credit escrow. *Settlement*: debit escrow; credit payables, fee, house and gap.
Escrow ends where it began. (A debt that is carried is debited to the contributor's receivable; a later share first
credits that.) Both are in the settlement's asset, in minor units.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

from sqlmodel import Session, col, select

from ledger import balances, journal, registry
from ledger import valuation as valuations
from ledger.balances import Moment
from ledger.errors import (
    GapToleranceError,
    LedgerError,
    NoConsentError,
    NoImprovementError,
    PartialRunError,
    ReversalError,
    RunReversedError,
    SettledAlreadyError,
    UnknownRunError,
)
from ledger.lines import Line, credit, debit
from ledger.models import Commodity, Entry, Run, SettledRun, Settlement
from ledger.money import Amount, Asset
from ledger.policies import MODES, TREATMENTS
from ledger.policies.terms import Mode, Negative, Terms, Worth
from ledger.valuation import Valuation

KIND, FUNDING = "settlement", "funding"


@dataclass(frozen=True)
class Payout:
    """What one contributor gets from one settlement: ``share == netted + paid - forgiven - carried``."""

    contributor: str
    value: int  # 1e-12 nat, weighted over tasks
    share: int  # minor units, signed: what the value comes to
    netted: int  # of the share, kept back for earlier debts
    paid: int  # of the share, owed to the contributor now
    forgiven: int  # of a negative share, borne by the house
    carried: int  # of a negative share, owed by the contributor


@dataclass(frozen=True)
class Outcome:
    """A settlement's figures, minor units: ``funded == Σ share + house + gap + fee`` before the house forgives."""

    payouts: list[Payout]  # in the record's order
    house: int
    gap: int
    fee: int
    funded: int


@dataclass(frozen=True)
class Settled:
    """A settlement that was made, or in a dry run would be."""

    run: str
    terms: Terms
    outcome: Outcome
    settlement: Settlement | None  # None in a dry run
    repeated: bool  # the run was settled on these terms before


def settle(session: Session, run: str, terms: Terms, *, dry_run: bool = False) -> Settled:
    """Settle a booked run, named by its identity or the beginning of it, on these terms.

    The same terms again return the first settlement. Raises `UnknownRunError`, `RunReversedError`, `PartialRunError`,
    and a `SettlementRefusedError`: `SettledAlreadyError`, `GapToleranceError`, `NoImprovementError`, `NoConsentError`.
    """
    booked = valuations.run(session, run)
    current = settlement_of(session, booked.id)
    if current is not None:
        different = _difference(terms_of(session, current), terms)
        if different:
            raise SettledAlreadyError(booked.id, current.entry, different)
        return Settled(booked.id, terms, outcome_of(session, current), current, repeated=True)
    if journal.reversal_of(session, booked.entry) is not None:
        raise RunReversedError(booked.id, booked.entry)
    valuation = valuations.valuation_of(session, booked)
    for refusal in refusals(session, valuation, terms):
        raise refusal
    asset = terms.amount.asset.code
    outcome = compute(valuation.worth, terms, owed(session, asset))
    if dry_run:
        return Settled(booked.id, terms, outcome, None, repeated=False)
    registry.use_asset(session, terms.amount.asset)
    attempt = len(attempts(session, booked.id)) + 1
    funding = None
    if outcome.funded:
        funding = journal.post(
            session,
            kind=FUNDING,
            subject=booked.id,
            key=f"{FUNDING}:{booked.id}:{attempt}",
            payload=funding_payload(booked.id, attempt, outcome),
            lines=funding_lines(outcome, asset),
        ).entry.sequence
    posted = journal.post(
        session,
        kind=KIND,
        subject=booked.id,
        key=f"{KIND}:{booked.id}:{attempt}",
        payload=payload(booked.id, attempt, funding, terms, outcome),
        parts=parts(outcome),
        lines=lines(outcome, asset),
    )
    settlement = Settlement(
        entry=posted.entry.sequence,
        funding=funding,
        subject=booked.id,
        policies="[]",
        attempt=attempt,
        mode=terms.mode,
        asset=asset,
        amount=terms.amount.minor,
        negative=terms.negative,
        fee_basis_points=terms.fee_basis_points,
        partial=terms.partial,
    )
    session.add(settlement)
    session.flush()
    session.add(SettledRun(settlement=settlement.entry, run=booked.id))
    session.flush()
    return Settled(booked.id, terms, outcome, settlement, repeated=False)


def reverse(session: Session, run: str, reason: str) -> list[Entry]:
    """Reverse a run's settlement and its funding, so that the run can be settled anew.

    Raises `UnknownRunError`, and `ReversalError` unless it is the asset's latest: debts carried by an earlier one may
    have been netted since.
    """
    booked = valuations.run(session, run)
    current = settlement_of(session, booked.id)
    if current is None:
        raise UnknownRunError(booked.id[:12], "is not settled")
    later = select(Settlement).where(Settlement.asset == current.asset, Settlement.entry > current.entry)
    for other in session.exec(later):
        if journal.reversal_of(session, other.entry) is None:
            raise ReversalError(current.entry, f"reverse the later settlement, entry {other.entry}, first")
    entries = [current.entry] if current.funding is None else [current.entry, current.funding]
    return [journal.reverse(session, sequence, reason).entry for sequence in entries]


def compute(worth: Worth, terms: Terms, owed: Mapping[str, int]) -> Outcome:
    """A settlement's figures from the values, the terms, and what contributors owe from before. Pure."""
    division = MODES[terms.mode](worth, terms)
    treat = TREATMENTS[terms.negative]
    house, payouts = division.house, []
    for contributor, value in worth.values.items():
        share = division.shares[contributor]
        treated = treat(max(-share, 0))
        house -= treated.forgiven
        netted = min(max(owed.get(contributor, 0), 0), max(share, 0))
        paid = max(share, 0) - netted
        payouts.append(Payout(contributor, value, share, netted, paid, treated.forgiven, treated.owed))
    return Outcome(payouts, house, division.gap, division.fee, division.funded)


def refusals(
    session: Session, valuation: Valuation, terms: Terms, *, before: int | None = None
) -> Iterator[LedgerError]:
    """Every reason for not settling a run on these terms; with `before`, as known when that entry was made."""
    run = valuation.run
    if not valuation.complete and not terms.partial:
        yield PartialRunError(run, valuation.stopped)
    tolerance = registry.tolerance(session)
    if abs(valuation.gap) > Fraction(tolerance) * abs(valuation.improvement):
        yield GapToleranceError(run, valuation.gap, valuation.improvement, tolerance)
    if terms.mode == "pool" and valuation.improvement <= 0:
        yield NoImprovementError(run, f"its improvement of {valuation.improvement} (1e-12 nat) is not positive")
    elif terms.mode == "pool" and not any(part.value > 0 for part in valuation.contributors):
        yield NoImprovementError(run, "no contributor's value is positive")
    yield from _without_consent(session, valuation, before)


def _without_consent(session: Session, valuation: Valuation, before: int | None) -> Iterator[NoConsentError]:
    for part in valuation.contributors:
        if part.datasets:
            for fingerprint in part.datasets:
                if not registry.had_consent(session, fingerprint, valuation.began_at, before=before):
                    yield NoConsentError(valuation.run, part.contributor, fingerprint, valuation.began_at)
        elif part.rows and not any(
            registry.had_consent(session, dataset.fingerprint, valuation.began_at, before=before)
            for dataset in registry.datasets(session, part.contributor)
        ):
            yield NoConsentError(valuation.run, part.contributor, None, valuation.began_at)


# What the entries say


def funding_lines(outcome: Outcome, asset: str) -> list[Line]:
    """The funding entry's lines."""
    return [debit("buyer", asset, outcome.funded), credit("escrow", asset, outcome.funded)]


def funding_payload(run: str, attempt: int, outcome: Outcome) -> dict[str, Any]:
    """What the funding entry says."""
    return {"run": run, "attempt": attempt, "funded": str(outcome.funded)}


def lines(outcome: Outcome, asset: str) -> list[Line]:
    """The settlement entry's lines."""
    return [
        debit("escrow", asset, outcome.funded),
        *(debit(f"receivable:{payout.contributor}", asset, payout.carried) for payout in outcome.payouts),
        *(credit(f"receivable:{payout.contributor}", asset, payout.netted) for payout in outcome.payouts),
        *(credit(f"payable:{payout.contributor}", asset, payout.paid) for payout in outcome.payouts),
        credit("fee", asset, outcome.fee),
        credit("house", asset, outcome.house),
        credit("gap", asset, outcome.gap),
    ]


def payload(run: str, attempt: int, funding: int | None, terms: Terms, outcome: Outcome) -> dict[str, Any]:
    """What the settlement entry says: the terms and every figure."""
    return {
        "run": run,
        "attempt": attempt,
        "funding": funding,
        "terms": {
            "mode": terms.mode,
            "asset": terms.amount.asset.code,
            "exponent": terms.amount.asset.exponent,
            "amount": str(terms.amount.minor),
            "negative": terms.negative,
            "fee_basis_points": terms.fee_basis_points,
            "partial": terms.partial,
        },
        "funded": str(outcome.funded),
        "fee": str(outcome.fee),
        "house": str(outcome.house),
        "gap": str(outcome.gap),
    }


def parts(outcome: Outcome) -> list[tuple[str, dict[str, str]]]:
    """What the settlement entry says of each contributor."""
    return [
        (payout.contributor, {name: str(figure) for name, figure in asdict(payout).items() if name != "contributor"})
        for payout in outcome.payouts
    ]


# What was settled


def settlements(session: Session) -> list[Settlement]:
    """All settlements, in the order in which they were made, reversed ones included."""
    return list(session.exec(select(Settlement).order_by(col(Settlement.entry))))


def attempts(session: Session, run: str) -> Sequence[Settlement]:
    """A run's settlements in their order; all but the last are reversed."""
    return session.exec(select(Settlement).where(Settlement.subject == run).order_by(col(Settlement.attempt))).all()


def settlement_of(session: Session, run: str) -> Settlement | None:
    """The run's settlement that holds, if any."""
    made = attempts(session, run)
    return made[-1] if made and journal.reversal_of(session, made[-1].entry) is None else None


def terms_of(session: Session, settlement: Settlement) -> Terms:
    """The terms that a settlement was made on."""
    commodity = session.get(Commodity, settlement.asset)
    assert commodity is not None  # a foreign key holds it
    mode: Mode = "pool" if settlement.mode == "pool" else "rate"
    negative: Negative = "floor" if settlement.negative == "floor" else "carry"
    amount = Amount(settlement.amount, Asset(commodity.code, commodity.exponent))
    return Terms(mode, amount, negative, settlement.fee_basis_points, settlement.partial)


def outcome_of(session: Session, settlement: Settlement) -> Outcome:
    """A settlement's figures as its entry states them."""
    stated = json.loads(journal.entry(session, settlement.entry).payload)
    figures = ("value", "share", "netted", "paid", "forgiven", "carried")
    payouts = []
    for part in journal.parts_of(session, settlement.entry):
        said = json.loads(part.payload)
        payouts.append(Payout(part.contributor, *(int(said[name]) for name in figures)))
    return Outcome(payouts, *(int(stated[name]) for name in ("house", "gap", "fee", "funded")))


def owed(session: Session, asset: str, *, before: int | None = None) -> dict[str, int]:
    """What each contributor owes from carried debts, minor units; with `before`, ahead of that entry."""
    return balances.by_contributor(session, "receivable", asset, Moment(before=before))


def _difference(first: Terms, now: Terms) -> str:
    for name in ("mode", "amount", "negative", "fee_basis_points", "partial"):
        was, wanted = getattr(first, name), getattr(now, name)
        if was != wanted:
            return f"{name.replace('_', ' ')} was {was}, not {wanted}"
    return ""


def run_of(session: Session, settlement: Settlement) -> Run:
    """The run that was settled."""
    booked = session.get(Run, settlement.subject)
    assert booked is not None  # a foreign key holds it
    return booked
