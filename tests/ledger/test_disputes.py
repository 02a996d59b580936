from collections.abc import Callable
from typing import Any

import pytest
from sqlmodel import Session

from ledger import balances, bookkeeping, disputes, estates, holds, journal, registry
from ledger.database import Ledger
from ledger.errors import (
    AccountLimitError,
    AccountShutError,
    DisputedAmountError,
    DisputeError,
    IdempotencyConflictError,
    ReversalError,
    UnknownContributorError,
    UnknownDisputeError,
)
from ledger.holds import NewHold
from ledger.lines import credit, debit
from ledger.models import Dispute, Settlement
from ledger.money import Amount, Asset

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


def claim(session: Session, settlement: int, amount: str = "1.00 EUR", **changed: Any) -> Dispute:
    options = {"claimant": "alice", "respondent": "bob", "evidence": EVIDENCE, **changed}
    return disputes.open_dispute(session, settlement=settlement, amount=Amount.parse(amount), **options)


def cents(session: Session, *accounts: str) -> list[int]:
    return [balances.balance(session, account, "EUR") for account in accounts]


def pay_out(session: Session, who: str, amount: int) -> None:
    lines = [debit(f"payable:{who}", "EUR", amount), credit(f"paid:{who}", "EUR", amount)]
    journal.post(session, kind="example", subject=who, key=f"paid:{who}", payload={}, lines=lines)


def test_what_is_disputed_is_held_until_it_is_decided(staffed: Ledger) -> None:
    with staffed.writing() as session:
        opened = claim(session, settled(session, bob=500))
        assert cents(session, "payable:bob", "disputed:bob", "payable:alice") == [400, 100, 0]
        assert [(hold.purpose, left) for hold, left in holds.open_holds(session).values()] == [("dispute", 100)]
        with pytest.raises(ReversalError):
            journal.reverse(session, opened.entry, "a wish")


@pytest.mark.parametrize(
    ("outcome", "after"), [("claimant", [400, 0, 100]), ("respondent", [500, 0, 0])], ids=["claimant", "respondent"]
)
def test_what_was_held_goes_to_whom_the_dispute_is_resolved_for(
    staffed: Ledger, outcome: str, after: list[int]
) -> None:
    with staffed.writing() as session:
        opened = claim(session, settled(session, bob=500))
        made = disputes.resolve(session, opened.entry, outcome, "the panel said so")
        assert cents(session, "payable:bob", "disputed:bob", "payable:alice") == after
        assert (made.outcome, disputes.open_disputes(session), holds.open_holds(session)) == (outcome, [], {})
        assert journal.entry(session, made.entry).reason == "the panel said so"


@pytest.mark.parametrize(
    ("outcome", "after"), [("claimant", [-50, 0, 100]), ("respondent", [50, 0, 0])], ids=["claimant", "respondent"]
)
def test_the_house_bears_what_is_won_against_it_though_it_earned_less_elsewhere(
    staffed: Ledger, outcome: str, after: list[int]
) -> None:
    with staffed.writing() as session:
        first = settled(session, house=300)
        settled(session, house=-250, bob=250)
        opened = claim(session, first, respondent=None)
        assert cents(session, "house", "house_disputed", "payable:alice") == [-50, 100, 0]
        disputes.resolve(session, opened.entry, outcome, "decided")
        assert cents(session, "house", "house_disputed", "payable:alice") == after


def test_what_a_claimant_wins_is_shared_among_the_payees_of_the_estate_that_holds_then(staffed: Ledger) -> None:
    with staffed.writing() as session:
        opened = claim(session, settled(session, bob=500))
        for name in ("heir-1", "heir-2"):
            registry.add_contributor(session, name)
        estates.set_estate(session, "alice", {"heir-1": 1, "heir-2": 2})
        disputes.resolve(session, opened.entry, "claimant", "decided")
        estates.set_estate(session, "alice", {})
        assert cents(session, "payable:alice", "payable:heir-1", "payable:heir-2") == [0, 33, 67]


@pytest.mark.parametrize(
    ("changed", "error", "reason"),
    [
        ({"amount": "5.01 EUR"}, DisputedAmountError, "gave them 5.00 EUR; 5.00 EUR can be disputed"),
        ({"respondent": "carol"}, DisputedAmountError, "gave them 0.00 EUR; 0.00 EUR can"),
        ({"respondent": None}, DisputedAmountError, "to the house cannot be disputed: the settlement gave them 0.00"),
        ({"amount": "1.00 USD"}, DisputeError, "in EUR, not in USD"),
        ({"amount": "0.00 EUR"}, DisputeError, "above zero"),
        ({"evidence": "E" * 64}, DisputeError, "SHA-256"),
        ({"evidence": "abc"}, DisputeError, "SHA-256"),
        ({"claimant": "nobody"}, UnknownContributorError, "'nobody'"),
        ({"respondent": "nobody"}, UnknownContributorError, "'nobody'"),
        ({"claimant": "bob"}, DisputeError, "'bob' cannot dispute with 'bob'"),
        ({"settlement": 1}, DisputeError, "entry 1 is no settlement"),
    ],
)
def test_a_dispute_that_makes_no_sense_is_refused(
    staffed: Ledger, changed: dict[str, Any], error: type[Exception], reason: str
) -> None:
    with staffed.writing() as session:
        options = {"settlement": settled(session, bob=500), **changed}
        before = journal.head(session)
        with pytest.raises(error, match=reason):
            claim(session, **options)
        assert journal.head(session) == before


def test_a_reversed_settlement_gives_nothing_to_dispute(staffed: Ledger) -> None:
    with staffed.writing() as session:
        settlement = settled(session, bob=500)
        journal.reverse(session, settlement, "wrong")
        with pytest.raises(DisputeError, match="was reversed by entry"):
            claim(session, settlement)


def test_what_is_paid_out_already_cannot_be_disputed_and_what_is_left_is_named(staffed: Ledger) -> None:
    with staffed.writing() as session:
        settlement = settled(session, bob=500)
        pay_out(session, "bob", 420)
        with pytest.raises(DisputedAmountError) as caught:
            claim(session, settlement)
        assert (caught.value.respondent, caught.value.asked, caught.value.left) == ("bob", "1.00 EUR", "0.80 EUR")
        assert "paid out" in str(caught.value)
        claim(session, settlement, "0.80 EUR")
        assert cents(session, "payable:bob", "disputed:bob") == [0, 80]


def test_a_frozen_account_refuses_a_dispute_and_its_end_and_nothing_is_left_of_either(staffed: Ledger) -> None:
    with staffed.writing() as session:
        settlement = settled(session, bob=500)
        opened = claim(session, settlement)
        bookkeeping.freeze(session, "payable:bob", "EUR", "a court order")
        before = journal.head(session)
        for act in (
            lambda: claim(session, settlement, "2.00 EUR"),
            lambda: disputes.resolve(session, opened.entry, "respondent", "decided"),
        ):
            with pytest.raises(AccountShutError):
                act()
        assert (journal.head(session), disputes.disputes(session)) == (before, [opened])
        assert disputes.resolution_of(session, opened.entry) is None


def test_what_another_settlement_gave_does_not_stand_in(staffed: Ledger) -> None:
    with staffed.writing() as session:
        small = settled(session, bob=50)
        settled(session, bob=500)
        with pytest.raises(DisputedAmountError, match=r"gave them 0\.50 EUR"):
            claim(session, small)


def test_the_same_money_is_not_disputed_twice_unless_it_came_back(staffed: Ledger) -> None:
    with staffed.writing() as session:
        settlement = settled(session, bob=500)
        settled(session, bob=500)
        first = claim(session, settlement, "3.00 EUR")
        with pytest.raises(DisputedAmountError, match=r"3\.00 EUR of it is disputed already.* 2\.00 EUR can"):
            claim(session, settlement, "4.00 EUR", claimant="carol")
        disputes.resolve(session, first.entry, "respondent", "decided")
        second = claim(session, settlement, "4.00 EUR", claimant="carol")
        disputes.resolve(session, second.entry, "claimant", "decided")
        with pytest.raises(DisputedAmountError, match=r"1\.00 EUR can"):
            claim(session, settlement, "1.01 EUR", claimant="carol")


def test_what_was_kept_back_is_disputed_once_it_is_payable(staffed: Ledger) -> None:
    with staffed.writing() as session:
        registry.use_asset(session, Asset("EUR", 2))
        lines = [debit("buyer", "EUR", 500), credit("payable:bob", "EUR", 100), credit("holdback:bob", "EUR", 400)]
        kept = NewHold("holdback", "holdback:bob", "surplus", "payable:bob", "EUR", 400)
        payload = {"holds": [holds.stated(kept)]}
        entry = journal.post(session, kind="example", subject="x", key="x", payload=payload, lines=lines).entry.sequence
        (hold,) = holds.record(session, entry, [kept])
        terms = {"mode": "pool", "asset": "EUR", "amount": 1, "negative": "floor", "fee_basis_points": 0}
        session.add(Settlement(entry=entry, subject="x", attempt=1, policies="[]", partial=False, **terms))
        session.flush()
        with pytest.raises(DisputedAmountError, match="not payable yet"):
            claim(session, entry, "2.00 EUR")
        holds.change(session, [holds.Change(hold, holds.POSTED)], kind="release", subject="bob", key="release")
        claim(session, entry, "5.00 EUR")
        assert cents(session, "payable:bob", "disputed:bob") == [0, 500]


def test_the_payees_of_an_estate_are_named_to_who_disputes_with_its_contributor(staffed: Ledger) -> None:
    with staffed.writing() as session:
        estates.set_estate(session, "bob", {"carol": 1})
        settlement = settled(session, carol=500)
        with pytest.raises(DisputedAmountError, match="its payees are carol"):
            claim(session, settlement)
        claim(session, settlement, respondent="carol")


def test_the_same_dispute_again_is_the_first_and_another_needs_a_key_of_its_own(staffed: Ledger) -> None:
    with staffed.writing() as session:
        settlement = settled(session, bob=500)
        first = claim(session, settlement)
        keyed = claim(session, settlement, key="case 7", reason="again")
        head = journal.head(session)
        assert claim(session, settlement).entry == first.entry
        assert claim(session, settlement, key="case 7", reason="again").entry == keyed.entry
        for other in ({"amount": "2.00 EUR"}, {"reason": "something else"}, {"claimant": "carol"}):
            with pytest.raises(IdempotencyConflictError, match="case 7"):
                claim(session, settlement, **{"key": "case 7", "reason": "again", **other})
        assert journal.head(session) == head
        assert cents(session, "disputed:bob") == [200]


def resolve_again(session: Session, entry: int, **changed: Any) -> int:
    options = {"outcome": "claimant", "reason": "decided", "key": "case 7", **changed}
    return disputes.resolve(session, entry, **options).entry


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"outcome": "respondent"}, DisputeError),
        ({"reason": "on second thoughts"}, IdempotencyConflictError),
        ({"key": "case 8"}, DisputeError),
        ({"key": None}, DisputeError),
        ({"outcome": "both"}, DisputeError),
    ],
)
def test_a_dispute_is_resolved_once_and_the_same_resolution_again_is_the_first(
    staffed: Ledger, changed: dict[str, Any], error: type[Exception]
) -> None:
    with staffed.writing() as session:
        opened = claim(session, settled(session, bob=500))
        first = resolve_again(session, opened.entry)
        head = journal.head(session)
        assert resolve_again(session, opened.entry) == first
        with pytest.raises(error):
            resolve_again(session, opened.entry, **changed)
        assert journal.head(session) == head


def test_a_key_is_not_used_for_two_disputes(staffed: Ledger) -> None:
    with staffed.writing() as session:
        settlement = settled(session, bob=500)
        first, second = claim(session, settlement), claim(session, settlement, "2.00 EUR")
        resolve_again(session, first.entry)
        with pytest.raises(IdempotencyConflictError, match="case 7"):
            resolve_again(session, second.entry)
        with pytest.raises(UnknownDisputeError, match="entry 1 is no dispute"):
            resolve_again(session, 1)


def test_open_disputes_are_those_of_either_side_that_nobody_resolved(staffed: Ledger) -> None:
    with staffed.writing() as session:
        first, second = settled(session, bob=500), settled(session, house=500)
        one = claim(session, first)
        other = claim(session, second, claimant="carol", respondent=None)
        assert disputes.open_disputes(session) == [one, other]
        for name, theirs in {"alice": [one], "bob": [one], "carol": [other]}.items():
            assert disputes.open_disputes(session, name) == theirs
        assert disputes.open_on(session, first) == [one]
        end = disputes.resolve(session, one.entry, "claimant", "decided")
        assert disputes.open_disputes(session) == [other]
        assert disputes.open_on(session, first) == []
        assert disputes.open_disputes(session, before=end.entry) == [one, other]
        assert disputes.open_disputes(session, before=other.entry) == [one]
        assert disputes.open_disputes(session, "bob", before=one.entry) == []


@pytest.mark.parametrize("act", [lambda s, n: claim(s, n, "4.00 EUR"), lambda s, n: pay_out(s, "bob", 400)])
def test_money_that_is_disputed_is_not_paid_out(staffed: Ledger, act: Callable[[Session, int], object]) -> None:
    with staffed.writing() as session:
        settlement = settled(session, bob=500)
        claim(session, settlement, "3.00 EUR")
        with pytest.raises((AccountLimitError, DisputedAmountError)):
            act(session, settlement)
