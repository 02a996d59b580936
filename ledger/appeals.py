"""Disputes that call for another valuation: upheld once the runs carry it, and then settled anew by it, at once.

What the dispute held goes back to where it came from, the settlement is reversed, and the same runs are settled on the
same terms by the valuation that was called for: so the claimant and everybody else end where settling by it would
have brought them. The resolution states what the claimant would have been given by it then.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from sqlmodel import Session

from ledger import disputes, journal, settlement
from ledger.disputes import CLAIMANT
from ledger.errors import DisputeError
from ledger.models import Dispute, Resolution, Settlement
from ledger.money import Amount, format_units
from ledger.policies.outcome import Payout, compute
from ledger.policies.terms import Terms
from ledger.scope import attempts, settled_scope
from ledger.settlement import Settled
from ledger.standing import standings
from ledger.worth import common_name, run_worths, total

_GIVEN = ("holdback", "vesting", "stopped", "accrued")  # homes of what a contributor gets later


@dataclass(frozen=True)
class Resolved:
    """How a dispute was decided, and the settlement that follows where another valuation was called for."""

    resolution: Resolution
    settled: Settled | None  # None also where that was done before


def resolve(session: Session, entry: int, outcome: str, reason: str, *, key: str | None = None) -> Resolved:
    """Decide a dispute, whatever it calls for. Raises what `disputes.resolve` does.

    Where it is upheld and calls for a valuation, also `NoValuationError` until every run carries it, and what reversing
    and settling raise: then nothing is decided.
    """
    found = disputes.dispute(session, entry)
    if outcome != CLAIMANT or found.calls_for is None:
        return Resolved(disputes.resolve(session, entry, outcome, reason, key=key), None)
    payout = payout_by(session, found.settlement, found.claimant, found.calls_for)
    decided = disputes.resolution_of(session, entry)
    with session.begin_nested():
        made = disputes.resolve(session, entry, outcome, reason, key=key, payout=payout)
        return Resolved(made, None if decided is not None else _settle_anew(session, found, reason))


def payout_by(session: Session, settled: int, claimant: str, name: str) -> int:
    """What a settlement, named by its entry, would have given a contributor by another valuation, minor units.

    Terms and where contributors stood are those of the settlement. Raises `NoValuationError` where a run does not carry
    the valuation, and `DisputeError` where nothing could be divided by it.
    """
    made = _settlement(session, settled)
    scope, terms = settled_scope(session, made), _terms_by(session, made, name)
    worths = run_worths(session, scope, terms.by)
    as_of = str(json.loads(journal.entry(session, settled).payload)["as_of"])
    try:
        outcome = compute(total(worths), terms, standings(session, worths, terms, as_of, before=settled))
    except (ValueError, ZeroDivisionError) as error:
        raise DisputeError(f"settlement {settled} cannot be made by valuation {name!r}: {error}") from error
    return sum(given(payout) for payout in outcome.payouts if payout.contributor == claimant)


def difference(session: Session, settled: int, claimant: str, name: str) -> Amount:
    """How much more a settlement would have given a claimant by another valuation that its runs carry.

    Raises what `payout_by` does, and `DisputeError` where it is no more or the entry is no settlement.
    """
    made = _settlement(session, settled)
    by_it = payout_by(session, settled, claimant, name)
    payout = settlement.payout_of(session, made, claimant)
    was = 0 if payout is None else given(payout)
    asset = settlement.terms_of(session, made).asset
    if by_it <= was:
        shown = [f"{format_units(minor, asset.exponent)} {asset}" for minor in (by_it, was)]
        raise DisputeError(
            f"by valuation {name!r} {claimant!r} would have been given {shown[0]}, and was given {shown[1]}"
        )
    return Amount(by_it - was, asset)


def settled_anew(session: Session, found: Dispute) -> Settlement | None:
    """The settlement that followed the one in dispute, if any."""
    made = _settlement(session, found.settlement)
    later = attempts(session, settled_scope(session, made))
    return next((one for one in later if one.attempt == made.attempt + 1), None)


def given(payout: Payout) -> int:
    """What a payout gives a contributor, now or later: less what had accrued before, which was theirs."""
    return payout.paid + sum(payout.at(home) for home in _GIVEN) - payout.drawn


def _settlement(session: Session, entry: int) -> Settlement:
    found = session.get(Settlement, entry)
    if found is None:
        raise DisputeError(f"entry {entry} is no settlement")
    return found


def _terms_by(session: Session, made: Settlement, name: str) -> Terms:
    scope = settled_scope(session, made)
    return replace(settlement.terms_of(session, made), by=common_name(session, scope, name))


def _settle_anew(session: Session, found: Dispute, reason: str) -> Settled:
    made = _settlement(session, found.settlement)
    scope, terms = settled_scope(session, made), _terms_by(session, made, str(found.calls_for))
    settlement.reverse(session, scope.runs, f"dispute {found.entry} is upheld: {reason}", task=scope.task)
    return settlement.settle(session, scope.runs, terms)
