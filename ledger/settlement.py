"""From values to payables: who is paid what for runs, and why not.

A settlement that pays is *funded* first: debit the buyer, credit escrow. The *settlement* debits escrow and credits
every home that the policies name (`ledger/policies/`). Where a price per nat meets runs that made the model worse,
the settlement credits escrow and a *refund* gives that to the buyer. Escrow ends where it began.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlmodel import Session, col, select

from ledger import holds, journal, registry
from ledger import settlement_entries as entries
from ledger.bulk import add_rows
from ledger.canonical import canonical
from ledger.disputes import open_on
from ledger.errors import AssetError, NotSettledError, ReversalError, SettledAlreadyError
from ledger.models import Commodity, Entry, Part, Posting, SettledRun, Settlement
from ledger.money import Amount, Asset
from ledger.policies import policy
from ledger.policies.outcome import Outcome, Payout, compute
from ledger.policies.terms import Terms
from ledger.refusals import refusals
from ledger.scope import Scope, attempts, scope_of
from ledger.shortfall import make_good
from ledger.spool import Spool
from ledger.standing import moment, standings
from ledger.worth import common_name, run_worths, total

_TERMS = ("mode", "amount", "by", "negative", "fee_basis_points", "partial", "policies")


@dataclass(frozen=True)
class Settled:
    """A settlement that was made, or in a dry run would be."""

    scope: Scope
    terms: Terms
    outcome: Outcome
    settlement: Settlement | None  # None in a dry run
    repeated: bool  # this was settled on these terms before


def settle(session: Session, runs: str | Sequence[str], terms: Terms, *, dry_run: bool = False) -> Settled:
    """Settle booked runs together on these terms, each named by its identity or the beginning of it.

    The same terms again return the first settlement. Raises `UnknownRunError`, `TermsError` for a task that a run does
    not have, `OtherValuationError` for a valuation that one does not have, `RunReversedError`, `PartialRunError`,
    `AmountError` for more than the books can hold, and a `SettlementRefusedError`: `SettledAlreadyError`,
    `SettledElsewhereError`, `GapToleranceError`, `NoImprovementError`, `NoConsentError`.
    """
    scope = scope_of(session, runs, terms.task)
    terms = replace(terms, by=common_name(session, scope, terms.by))
    made = attempts(session, scope)
    if made and journal.reversal_of(session, made[-1].entry) is None:
        return _again(session, scope, terms, made[-1])
    worths = run_worths(session, scope, terms.by)
    for refusal in refusals(session, scope, worths, terms):
        raise refusal
    if not dry_run:
        registry.use_asset(session, terms.asset)
    as_of = moment(session)
    outcome = compute(total(worths), terms, standings(session, worths, terms, as_of))
    if dry_run:
        outcome.lines(terms.asset.code)  # refuses what the books could not hold
        return Settled(scope, terms, outcome, None, repeated=False)
    settlement = _book(session, scope, len(made) + 1, as_of, terms, outcome)
    return Settled(scope, terms, outcome, settlement, repeated=False)


def reverse(session: Session, runs: str | Sequence[str], reason: str, *, task: str | None = None) -> list[Entry]:
    """Reverse the settlement of exactly these runs and its funding or refund, so that they can be settled anew.

    Holds of it that are still open are taken back with it; what contributors were paid or released meanwhile they owe
    from then on, by an entry ahead of the reversal (`ledger/shortfall.py`). Returns the entries in their order. Raises
    `UnknownRunError`, `NotSettledError`, and `ReversalError` while there is a dispute about it.
    """
    scope = scope_of(session, runs, task)
    current = settlement_of(session, scope)
    if current is None:
        raise NotSettledError(str(scope))
    for dispute in open_on(session, current.entry):
        raise ReversalError(current.entry, f"dispute {dispute.entry} about it is open; resolve that first")
    back = [] if current.funding is None else [current.funding]
    posted = [journal.reverse(session, refund, reason).entry for refund in back if refund > current.entry]
    made_good = make_good(session, current)
    instead = [hold.id for entry in made_good for hold in holds.made_by(session, entry.sequence)]
    posted += made_good
    if _moved(session, current.entry):
        posted.append(holds.reverse(session, current.entry, reason, besides=instead).entry)
    else:  # it was worth nothing, and is in the way of another settlement all the same
        posted.append(journal.reverse(session, current.entry, reason, also={}).entry)
    posted += [journal.reverse(session, funding, reason).entry for funding in back if funding < current.entry]
    return posted


# What was settled


def settlements(session: Session) -> list[Settlement]:
    """All settlements, in the order in which they were made, reversed ones included."""
    return list(session.exec(select(Settlement).order_by(col(Settlement.entry))))


def settlement_of(session: Session, scope: Scope) -> Settlement | None:
    """The settlement of exactly this scope that holds, if any."""
    made = attempts(session, scope)
    return made[-1] if made and journal.reversal_of(session, made[-1].entry) is None else None


def terms_of(session: Session, settlement: Settlement) -> Terms:
    """The terms that a settlement was made on."""
    commodity = session.get(Commodity, settlement.asset)
    if commodity is None:  # a foreign key holds it; the audit meets books where it did not
        raise AssetError(settlement.asset, "is not registered")
    return Terms(
        mode=settlement.mode,  # type: ignore[arg-type]  # checked when made
        amount=Amount(settlement.amount, Asset(commodity.code, commodity.exponent)),
        negative=settlement.negative,  # type: ignore[arg-type]
        fee_basis_points=settlement.fee_basis_points,
        partial=settlement.partial,
        task=settlement.task,
        policies=policy.read(json.loads(settlement.policies)),
        by=settlement.valuation,
    )


def outcome_of(session: Session, settlement: Settlement) -> Outcome:
    """A settlement's figures as its entry states them."""
    said = json.loads(journal.entry(session, settlement.entry).payload)
    payouts = Spool(
        Payout.read(contributor, json.loads(text))
        for contributor, text in journal.part_texts(session, settlement.entry)
    )
    house, gap, fee, funded = (int(said[name]) for name in ("house", "gap", "fee", "funded"))
    return Outcome(payouts, house + sum(payout.forgiven for payout in payouts), gap, fee, funded)


def payout_of(session: Session, settlement: Settlement, contributor: str) -> Payout | None:
    """What a settlement came to for one contributor, or None where the runs were not theirs."""
    return next((read_payout(part) for part in journal.parts_of(session, settlement.entry, contributor)), None)


def read_payout(part: Part) -> Payout:
    """The payout that a settlement entry's part states. Raises `KeyError`, `TypeError` or `ValueError`."""
    return Payout.read(part.contributor, json.loads(part.payload))


# Writing


def _moved(session: Session, entry: int) -> bool:
    return session.exec(select(Posting.line).where(Posting.entry == entry).limit(1)).first() is not None


def _again(session: Session, scope: Scope, terms: Terms, current: Settlement) -> Settled:
    different = _difference(terms_of(session, current), terms)
    if different:
        raise SettledAlreadyError(str(scope), current.entry, different)
    return Settled(scope, terms, outcome_of(session, current), current, repeated=True)


def _difference(first: Terms, now: Terms) -> str:
    for name in _TERMS:
        was, wanted = getattr(first, name), getattr(now, name)
        if was != wanted:
            if name == "by":
                return f"by valuation {was or 'of its own'}, not {wanted or 'of its own'}"
            return f"{name.replace('_', ' ')} was {_shown(was)}, not {_shown(wanted)}"
    return ""


def _shown(term: object) -> str:
    return "; ".join(one.described(str) for one in term) or "none" if isinstance(term, tuple) else str(term)


def _book(session: Session, scope: Scope, attempt: int, as_of: str, terms: Terms, outcome: Outcome) -> Settlement:
    asset, subject = terms.asset.code, scope.subject
    lines = outcome.lines(asset)  # refuses what the books could not hold, before anything is posted
    moved = entries.moved_kind(outcome)

    def move(kind: str) -> int:
        return journal.post(
            session,
            kind=kind,
            subject=subject,
            key=f"{kind}:{subject}:{attempt}",
            payload=entries.moved_payload(scope, attempt, outcome),
            lines=entries.moved_lines(outcome, asset),
        ).entry.sequence

    funding = move(entries.FUNDING) if moved == entries.FUNDING else None
    entry = journal.post(
        session,
        kind=entries.KIND,
        subject=subject,
        key=f"{entries.KIND}:{subject}:{attempt}",
        payload=entries.payload(scope, attempt, funding, as_of, terms, outcome),
        parts=entries.parts(outcome, asset),
        lines=lines,
    ).entry.sequence
    holds.record(session, entry, entries.new_holds(outcome, asset))
    settlement = Settlement(
        entry=entry,
        funding=move(entries.REFUND) if moved == entries.REFUND else funding,
        subject=subject,
        attempt=attempt,
        task=terms.task,
        mode=terms.mode,
        asset=asset,
        amount=terms.amount.minor,
        negative=terms.negative,
        fee_basis_points=terms.fee_basis_points,
        partial=terms.partial,
        policies=canonical(policy.stated(terms.policies)),
        valuation=terms.by,
    )
    session.add(settlement)
    session.flush()
    add_rows(session.connection(), SettledRun, ({"settlement": entry, "run": run} for run in scope.runs))
    return settlement
