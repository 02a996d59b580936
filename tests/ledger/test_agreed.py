"""What policies do in the books: accounts, holds, releases, payouts, stakes, and what the audit makes of them."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlmodel import Session

from ledger import balances, disputes, estates, holds, journal, payouts, registry, releases, stakes
from ledger.audit import audit
from ledger.database import Ledger
from ledger.errors import AccountLimitError, AmountError, FutureEventError, HoldError, UnknownContributorError
from ledger.money import Amount
from ledger.policies import Cap, Holdback, Minimum, StopPayment, Terms, Vesting, Withholding
from ledger.settlement import Settled, settle
from ledger.valuation import Booked

Book = Callable[..., Booked]
EVIDENCE = "e" * 64


def pool(*policies: Any, amount: str = "100.00 EUR", **options: Any) -> Terms:
    return Terms("pool", Amount.parse(amount), policies=policies, **options)


def balance(session: Session, account: str) -> int:
    return balances.balance(session, account, "EUR")


def one(session: Session, book: Book, terms: Terms, **values: float) -> Settled:
    return settle(session, book(session, values).run.id, terms)


def accounts(session: Session) -> dict[str, int]:
    """Every account in money that holds anything."""
    return {
        total.account: total.balance for total in balances.totals(session) if total.commodity == "EUR" and total.balance
    }


@pytest.fixture
def checked(staffed: Ledger) -> Any:
    """The staffed ledger, audited when the test is over."""
    yield staffed
    with staffed.reading() as session:
        found = audit(session)
        assert found.ok, [check for check in found.checks if not check.ok]


def test_every_policy_at_once_leaves_each_minor_unit_in_an_account(checked: Ledger, book: Book) -> None:
    with checked.writing() as session:
        estates.set_estate(session, "alice", {"alice": 1, "carol": 1})
        agreed = pool(
            Cap(amount=6000),
            Withholding(1000),
            Minimum(1000),
            Holdback(2000, "2027-01-01"),
            Vesting(((None, 1), ("2027-06-01", 1), ("2028-06-01", 2))),
            StopPayment(),
            fee_basis_points=500,
        )
        one(session, book, agreed, alice=0.75, bob=0.25, carol=0.01)
        assert accounts(session) == {
            "buyer": 10_000,
            "fee": 500,
            # alice: 7054 of 9500, of which 1054 are above the cap, 600 are tax, 1080 held back, and the rest in four
            # parts, of which one is now and is shared with carol
            "surplus": 1054,
            "withheld": 600 + 235 + 9,
            "holdback:alice": 1080,
            "vesting:alice": 1080 + 2160,
            "payable:alice": 540,
            "payable:carol": 540,
            # bob: 2352 of 9500, less 235
            "holdback:bob": 423,
            "vesting:bob": 423 + 847,
            "payable:bob": 424,
            # carol: 94, less 9, which is too little to be paid
            "accrued:carol": 85,
        }
        assert len(holds.open_holds(session)) == 6


def test_what_accrues_is_paid_when_it_is_enough(checked: Ledger, book: Book) -> None:
    with checked.writing() as session:
        first = one(session, book, pool(Minimum(2000)), alice=0.9, bob=0.1)
        assert first.outcome.payouts[1].at("accrued") == 1000
        assert (balance(session, "accrued:bob"), balance(session, "payable:bob")) == (1000, 0)
        second = one(session, book, pool(Minimum(2000)), alice=0.9, bob=0.1)
        assert (second.outcome.payouts[1].drawn, second.outcome.payouts[1].paid) == (1000, 2000)
        assert (balance(session, "accrued:bob"), balance(session, "payable:bob")) == (0, 2000)


def test_what_accrued_in_one_asset_is_not_paid_in_another(checked: Ledger, book: Book) -> None:
    with checked.writing() as session:
        one(session, book, pool(Minimum(2000)), alice=0.9, bob=0.1)
        other = one(session, book, pool(Minimum(0), amount="100.00 USD"), alice=0.9, bob=0.1)
        assert other.outcome.payouts[1].drawn == 0
        assert balance(session, "accrued:bob") == 1000


def test_a_stake_pays_for_negative_values_as_far_as_it_reaches(checked: Ledger, book: Book) -> None:
    slash = Terms("rate", Amount.parse("100.00 EUR"), "slash")
    with checked.writing() as session:
        stakes.deposit(session, "bob", Amount.parse("40.00 EUR"), key="k", reference="SEPA 1")
        first = one(session, book, slash, alice=1.0, bob=-0.25).outcome.payouts[1]
        assert (first.share, first.slashed, first.forgiven) == (-2500, 2500, 0)
        second = one(session, book, slash, alice=1.0, bob=-0.25).outcome.payouts[1]
        assert (second.share, second.slashed, second.forgiven) == (-2500, 1500, 1000)
        assert (balance(session, "stake:bob"), balance(session, "receivable:bob")) == (0, 0)
        assert (balance(session, "house"), balance(session, "bank")) == (-1000, 4000)


def test_a_stake_is_deposited_once_and_withdrawn_no_further_than_it_reaches(checked: Ledger) -> None:
    with checked.writing() as session:
        first = stakes.deposit(session, "bob", Amount.parse("40.00 EUR"), key="k")
        assert stakes.deposit(session, "bob", Amount.parse("40.00 EUR"), key="k").entry == first.entry
        stakes.withdraw(session, "bob", Amount.parse("15.00 EUR"), key="w")
        assert (balance(session, "stake:bob"), balance(session, "bank")) == (2500, 2500)
        for contributor, amount, error in (
            ("bob", "0 EUR", AmountError),
            ("nobody", "1 EUR", UnknownContributorError),
        ):
            with pytest.raises(error):
                stakes.deposit(session, contributor, Amount.parse(amount), key="x")
    with pytest.raises(AccountLimitError, match="stake:bob"), checked.writing() as session:
        stakes.withdraw(session, "bob", Amount.parse("25.01 EUR"), key="y")


def test_what_is_due_is_released_once_to_whoever_is_paid_by_then(checked: Ledger, book: Book) -> None:
    with checked.writing() as session:
        agreed = pool(Holdback(1000, "2026-03-02"), Vesting((("2026-03-01", 1), ("2026-12-01", 1))))
        one(session, book, agreed, alice=0.75, bob=0.25)
        assert (balance(session, "payable:alice"), balance(session, "holdback:alice")) == (0, 750)
        estates.set_estate(session, "alice", {"bob": 1, "carol": 2})
        told = releases.release(session, dry_run=True)
        released = releases.release(session)
        assert (told.entry, told.holds) == (None, released.holds)
        assert sorted((hold.purpose, hold.destination, left) for hold, left in released.holds) == [
            ("holdback", "payable:alice", 750),
            ("holdback", "payable:bob", 250),
            ("vesting", "payable:alice", 3375),
            ("vesting", "payable:bob", 1125),
        ]
        assert balance(session, "payable:alice") == 0
        assert balance(session, "payable:bob") == 250 + 1125 + 250 + 1125
        assert balance(session, "payable:carol") == 500 + 2250
        assert (balance(session, "holdback:alice"), balance(session, "vesting:alice")) == (0, 3375)
        assert releases.release(session).entry is None


def test_a_release_as_of_a_day_takes_only_what_was_due_then(checked: Ledger, book: Book) -> None:
    with checked.writing() as session:
        one(session, book, pool(Vesting((("2026-01-01", 1), ("2026-02-01", 1)))), alice=1.0)
        released = releases.release(session, "2026-01-15")
        assert [hold.release_at for hold, _ in released.holds] == ["2026-01-01T00:00:00.000000Z"]
        assert released.entry is not None
        assert journal.entry(session, released.entry).event_at == "2026-01-15T00:00:00.000000Z"
        assert balance(session, "payable:alice") == 5000
    with pytest.raises(FutureEventError), checked.writing() as session:
        releases.release(session, "2027-01-01")


def test_nothing_is_paid_while_a_dispute_is_open_and_all_of_it_after(checked: Ledger, book: Book) -> None:
    with checked.writing() as session:
        disputed = one(session, book, pool(), alice=0.5, bob=0.5)
        assert disputed.settlement is not None
        dispute = disputes.open_dispute(
            session, "carol", "alice", disputed.settlement.entry, Amount.parse("10.00 EUR"), EVIDENCE
        )
        paid = one(session, book, pool(StopPayment()), alice=0.25, bob=0.5, carol=0.25)
        assert [payout.paid for payout in paid.outcome.payouts] == [0, 5000, 0]
        (part,) = paid.outcome.payouts[0].parts
        assert (part.home, part.reason) == ("stopped", f"dispute {dispute.entry}")
        assert (balance(session, "stopped:alice"), balance(session, "stopped:carol")) == (2500, 2500)
        assert releases.release(session).holds == []
        disputes.resolve(session, dispute.entry, "respondent", "nothing to it")
        assert [hold.purpose for hold, _ in releases.release(session).holds] == ["stop", "stop"]
        assert balance(session, "payable:alice") == 5000 + 2500


@pytest.mark.parametrize("named", [True, False])
def test_nothing_is_paid_where_consent_is_withdrawn_until_it_is_given_again(
    checked: Ledger, book: Book, named: bool
) -> None:
    with checked.writing() as session:
        (dataset,) = registry.datasets(session, "alice")
        data = {"alice": [dataset.fingerprint]} if named else {}
        run = book(session, {"alice": 0.5, "bob": 0.5}, data=data).run
        later = book(session, {"alice": 0.5, "bob": 0.5}, data=data).run
        registry.withdraw_consent(session, dataset.fingerprint, "2026-03-01T12:00:00.000001Z")
        settled = settle(session, run.id, pool(StopPayment(), Withholding(1000)))
        # Stopped before anything is withheld, since that is the order of these terms.
        assert [part.home for part in settled.outcome.payouts[0].parts] == ["stopped"]
        assert "no consent for" in str(settled.outcome.payouts[0].parts[0].reason)
        assert settled.outcome.payouts[1].paid == 4500
        settle(session, later.id, pool())  # not agreed here
        assert balance(session, "payable:alice") == 5000
        assert releases.release(session).holds == []
        registry.give_consent(session, dataset.fingerprint, "2026-03-01T13:00:00Z")
        assert [left for _, left in releases.release(session).holds] == [5000]


def test_a_holdback_waits_on_while_its_contributor_is_stopped_if_that_was_agreed(checked: Ledger, book: Book) -> None:
    with checked.writing() as session:
        with_stop = pool(Holdback(1000, "2026-01-01"), StopPayment())
        first = one(session, book, with_stop, alice=0.5, bob=0.5)
        one(session, book, pool(Holdback(1000, "2026-01-01")), alice=0.5, bob=0.5)
        assert first.settlement is not None
        claim = Amount.parse("1.00 EUR")
        disputes.open_dispute(session, "carol", "alice", first.settlement.entry, claim, EVIDENCE)
        released = releases.release(session)
        entries = [(hold.account, hold.entry == first.settlement.entry) for hold, _ in released.holds]
        assert sorted(entries) == [("holdback:alice", False), ("holdback:bob", False), ("holdback:bob", True)]


def test_a_payout_is_in_flight_until_it_is_confirmed_or_fails(checked: Ledger, book: Book) -> None:
    with checked.writing() as session:
        one(session, book, pool(), alice=1.0)
        first = payouts.start(session, "alice", "EUR", 4000, key="p1", reference="SEPA 1")
        rest = payouts.start(session, "alice", "EUR", key="p2")
        assert (first.amount, rest.amount) == (4000, 6000)
        assert payouts.start(session, "alice", "EUR", key="p2").id == rest.id
        assert [left for _, left in payouts.in_flight(session)] == [4000, 6000]
        assert (balance(session, "payable:alice"), balance(session, "in_flight:alice")) == (0, 10_000)
        payouts.confirm(session, first.id, key="c1")
        payouts.confirm(session, rest.id, 1000, key="c2")
        payouts.fail(session, rest.id, "account closed", key="f")
        assert payouts.in_flight(session) == []
        assert (balance(session, "paid:alice"), balance(session, "payable:alice")) == (5000, 5000)
        assert payouts.confirm(session, first.id, key="c1").repeated


def test_no_more_is_paid_than_is_payable(checked: Ledger, book: Book) -> None:
    with checked.writing() as session:
        one(session, book, pool(Holdback(1000, "2027-01-01")), alice=1.0)
        held = next(iter(holds.open_holds(session)))
        with pytest.raises(HoldError, match="is no payout"):
            payouts.confirm(session, held, key="c")
        with pytest.raises(HoldError, match="nothing is payable"):
            payouts.start(session, "bob", "EUR", key="p")
    with pytest.raises(AccountLimitError, match="payable:alice"), checked.writing() as session:
        payouts.start(session, "alice", "EUR", 9001, key="p")


def test_a_refund_follows_the_settlement_that_credits_the_buyer(checked: Ledger, book: Book) -> None:
    with checked.writing() as session:
        run = book(session, {"alice": -0.5, "bob": 0.1}).run
        made = settle(session, run.id, Terms("rate", Amount.parse("1000.00 EUR"), "carry")).settlement
        assert made is not None
        assert made.funding is not None
        assert made.funding == made.entry + 1
        assert journal.entry(session, made.funding).kind == "refund"
        assert accounts(session) == {"buyer": -40_000, "receivable:alice": 50_000, "payable:bob": 10_000}
