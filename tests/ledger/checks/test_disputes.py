from collections.abc import Callable

import pytest
from sqlmodel import Session

from ledger import disputes, estates, holds, journal, registry
from ledger.checks import dispute_faults
from ledger.database import Ledger
from ledger.holds import Change, NewHold
from ledger.models import Dispute, Resolution
from tests.ledger.test_disputes import EVIDENCE, claim, settled


def faults(session: Session) -> list[str]:
    return [fault.detail for fault in dispute_faults(session)]


def test_disputes_open_won_lost_and_shared_hold(staffed: Ledger) -> None:
    with staffed.writing() as session:
        settlement, house = settled(session, bob=500), settled(session, house=500)
        estates.set_estate(session, "carol", {"alice": 1, "carol": 2})
        claim(session, settlement)
        for outcome in ("claimant", "respondent"):
            for respondent, about in (("bob", settlement), (None, house)):
                opened = claim(session, about, claimant="carol", respondent=respondent, key=f"{respondent} {outcome}")
                disputes.resolve(session, opened.entry, outcome, "decided")
        estates.set_estate(session, "carol", {})
        assert faults(session) == []


def bare(session: Session, settlement: int, **changed: object) -> Dispute:
    """A dispute that nobody checked, and that holds nothing."""
    told = {"claimant": "alice", "respondent": "bob", "asset": "EUR", "amount": 100, "evidence": EVIDENCE, **changed}
    return registry.register(session, Dispute(settlement=settlement, entry=0, **told), repeatable=True)


def decided(session: Session, dispute: Dispute, outcome: str) -> Resolution:
    """A resolution that moved nothing."""
    return registry.register(session, Resolution(dispute=dispute.entry, outcome=outcome, entry=0))


def ended(session: Session, dispute: Dispute, change: str, **options: object) -> None:
    """The end of a dispute's hold, whatever was decided."""
    hold = disputes.hold_row(session, dispute)
    key, amount = str(options.pop("key", disputes.end_key(dispute.entry))), options.pop("amount", None)
    steps = [Change(hold.id, change, amount)]  # type: ignore[arg-type]
    options = {name: {hold.id: option} for name, option in options.items()}
    holds.change(session, steps, kind=disputes.ENDED, subject="alice", key=key, **options)  # type: ignore[arg-type]


def holds_nothing(session: Session, settlement: int) -> None:
    bare(session, settlement)


def holds_something_else(session: Session, settlement: int) -> None:
    opened = bare(session, settlement)
    hold = NewHold("dispute", "disputed:bob", "payable:bob", "payable:carol", "EUR", 100)
    holds.open_hold(session, hold, key=disputes.hold_key(opened.entry))


def claims_too_much(session: Session, settlement: int) -> None:
    settled(session, bob=500)
    opened = bare(session, settlement, amount=600)
    holds.open_hold(session, disputes.hold_of(opened), key=disputes.hold_key(opened.entry))


def settlement_reversed(session: Session, settlement: int) -> None:
    settled(session, bob=500)
    claim(session, settlement)
    journal.reverse(session, settlement, "wrong")


def not_moved(session: Session, settlement: int) -> None:
    decided(session, claim(session, settlement), "claimant")


def moved_undecided(session: Session, settlement: int) -> None:
    ended(session, claim(session, settlement), holds.POSTED)


def partly_given_back(session: Session, settlement: int) -> None:
    ended(session, claim(session, settlement), holds.VOIDED, amount=10, key="other")


def to_the_loser(session: Session, settlement: int) -> None:
    opened = claim(session, settlement)
    decided(session, opened, "respondent")
    ended(session, opened, holds.POSTED)


def to_a_stranger(session: Session, settlement: int) -> None:
    opened = claim(session, settlement)
    decided(session, opened, "claimant")
    ended(session, opened, holds.POSTED, destinations=[("payable:carol", 100)])


def past_the_estate(session: Session, settlement: int) -> None:
    estates.set_estate(session, "alice", {"carol": 1})
    opened = claim(session, settlement)
    decided(session, opened, "claimant")
    ended(session, opened, holds.POSTED)


def held_for_nobody(session: Session, settlement: int) -> None:
    hold = NewHold("dispute", "disputed:bob", "payable:bob", "payable:alice", "EUR", 100)
    holds.open_hold(session, hold, key="a hold")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (holds_nothing, ["holds nothing"]),
        (holds_something_else, ["destination of hold 1 is 'payable:carol', not 'payable:alice'"]),
        (claims_too_much, ["is of 600, settlement", "gave bob 500"]),
        (settlement_reversed, ["reversed its settlement before it was resolved"]),
        (not_moved, ["what it held was not moved"]),
        (moved_undecided, ["ends a dispute that nobody resolved"]),
        (partly_given_back, ["took from hold 1 and resolved nothing"]),
        (to_the_loser, ["hold 1 was not voided whole"]),
        (to_a_stranger, ["holds credit payable:carol 100 EUR, recomputed credit payable:alice 100 EUR"]),
        (past_the_estate, ["holds credit payable:alice 100 EUR, recomputed credit payable:carol 100 EUR"]),
        (held_for_nobody, ["hold 1: there is no dispute that it is for"]),
    ],
)
def test_what_is_wrong_with_a_dispute_is_named(
    staffed: Ledger, wrong: Callable[[Session, int], None], words: list[str]
) -> None:
    with staffed.writing() as session:
        wrong(session, settled(session, bob=500))
        found = faults(session)
        assert any(all(word in fault for word in words) for fault in found), found
