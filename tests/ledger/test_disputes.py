from sqlmodel import Session

from ledger import disputes, journal, registry
from ledger.database import Ledger
from ledger.lines import credit, debit
from ledger.models import Dispute, Resolution, Settlement
from ledger.money import Asset

EVIDENCE = "e" * 64


def settled(session: Session, **gave: int) -> int:
    """The entry of a settlement that gave these amounts, EUR cents, to contributors or to the house."""
    registry.use_asset(session, Asset("EUR", 2))
    number = journal.head(session)[0]
    lines = [
        credit(account if account == "house" else f"payable:{account}", "EUR", cents) for account, cents in gave.items()
    ]
    lines.append(debit("buyer", "EUR", sum(gave.values())))
    entry = journal.post(session, kind="example", subject="a run", key=f"example:{number}", payload={}, lines=lines)
    sequence = entry.entry.sequence
    terms = {"mode": "pool", "asset": "EUR", "amount": 1, "negative": "floor", "fee_basis_points": 0, "partial": False}
    session.add(Settlement(entry=sequence, subject=f"run-{number}", attempt=1, policies="[]", **terms))
    session.flush()
    return sequence


def claim(session: Session, claimant: str, respondent: str | None, settlement: int) -> Dispute:
    row = Dispute(
        claimant=claimant,
        respondent=respondent,
        settlement=settlement,
        asset="EUR",
        amount=100,
        evidence=EVIDENCE,
        entry=0,
    )
    return registry.register(session, row, repeatable=True)


def test_open_disputes_are_those_of_either_side_that_nobody_resolved(staffed: Ledger) -> None:
    with staffed.writing() as session:
        first, second = settled(session, bob=500), settled(session, house=500)
        one = claim(session, "alice", "bob", first)
        other = claim(session, "carol", None, second)
        assert disputes.open_disputes(session) == [one, other]
        for name, theirs in {"alice": [one], "bob": [one], "carol": [other]}.items():
            assert disputes.open_disputes(session, name) == theirs
        assert disputes.open_on(session, first) == [one]
        end = registry.register(session, Resolution(dispute=one.entry, outcome="claimant", entry=0))
        assert disputes.open_disputes(session) == [other]
        assert disputes.open_on(session, first) == []
        assert disputes.open_disputes(session, before=end.entry) == [one, other]
        assert disputes.open_disputes(session, before=other.entry) == [one]
        assert disputes.open_disputes(session, "bob", before=one.entry) == []
