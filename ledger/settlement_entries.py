"""What a settlement's entries say: the funding before it, the settlement, and a refund after it. Pure.

The head says what was agreed and the totals; each contributor has a part of their own (`Payout.stated`), which also
states the holds that were made for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ledger import holds
from ledger.holds import NewHold
from ledger.lines import Line, credit, debit
from ledger.policies.outcome import Outcome, Payout, account_of
from ledger.policies.terms import Terms
from ledger.scope import Scope

KIND, FUNDING, REFUND = "settlement", "funding", "refund"
PURPOSES = {"holdback": "holdback", "vesting": "vesting", "stopped": "stop"}  # of holds, by the home of a part
VOIDED_TO = "surplus"  # a hold that is voided is the buyer's again


def payload(
    scope: Scope, attempt: int, funding: int | None, as_of: str, terms: Terms, outcome: Outcome
) -> dict[str, Any]:
    """What the settlement entry says of all together. `as_of` is the instant at which contributors' standing counts."""
    return {
        "runs": list(scope.runs),
        "attempt": attempt,
        "funding": funding,
        "as_of": as_of,
        "terms": terms.stated(),
        "funded": str(outcome.funded),
        "fee": str(outcome.fee),
        "house": str(outcome.house),
        "gap": str(outcome.gap),
    }


def parts(outcome: Outcome, asset: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """What the settlement entry says of each contributor."""
    for payout in outcome.payouts:
        made = [holds.stated(hold) for hold in _holds(payout, asset)]
        yield payout.contributor, payout.stated() | ({"holds": made} if made else {})


def new_holds(outcome: Outcome, asset: str) -> Iterator[NewHold]:
    """The holds that the settlement makes, in the order of its parts."""
    return (hold for payout in outcome.payouts for hold in _holds(payout, asset))


def moved_kind(outcome: Outcome) -> str | None:
    """What else is posted: funding before the settlement, a refund after it, or nothing where nothing is to pay."""
    return None if not outcome.funded else FUNDING if outcome.funded > 0 else REFUND


def moved_lines(outcome: Outcome, asset: str) -> list[Line]:
    """The lines of the funding, or of the refund."""
    return [debit("buyer", asset, outcome.funded), credit("escrow", asset, outcome.funded)]


def moved_payload(scope: Scope, attempt: int, outcome: Outcome) -> dict[str, Any]:
    """What the funding says, or the refund."""
    return {
        "runs": list(scope.runs),
        "task": scope.task,
        "attempt": attempt,
        "amount": str(abs(outcome.funded)),
    }


def _holds(payout: Payout, asset: str) -> Iterator[NewHold]:
    for part in payout.parts:
        if part.home in PURPOSES:
            yield NewHold(
                purpose=PURPOSES[part.home],
                account=account_of(part, payout.contributor),
                origin=VOIDED_TO,
                destination=f"payable:{payout.contributor}",
                commodity=asset,
                amount=part.amount,
                release_at=part.release_at,
            )
