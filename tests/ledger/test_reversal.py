"""A settlement taken back, whatever has become of its money since; and the books after."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlmodel import Session

from ledger import balances, disputes, estates, holds, journal, payouts, registry, stakes
from ledger.audit import audit
from ledger.database import Ledger
from ledger.errors import ReversalError
from ledger.money import Amount
from ledger.policies import Cap, Holdback, Minimum, Terms, Vesting, Withholding
from ledger.settlement import Settled, reverse, settle
from ledger.statement import statement
from ledger.valuation import Booked

Book = Callable[..., Booked]


def pool(*policies: Any, amount: str = "100.00 EUR", **options: Any) -> Terms:
    return Terms("pool", Amount.parse(amount), policies=policies, **options)


def rate(*policies: Any, amount: str = "1000.00 EUR", **options: Any) -> Terms:
    return Terms("rate", Amount.parse(amount), policies=policies, **options)


def accounts(session: Session) -> dict[str, int]:
    """Every account in money that holds anything."""
    return {
        total.account: total.balance for total in balances.totals(session) if total.commodity == "EUR" and total.balance
    }


def settled(session: Session, book: Book, terms: Terms, **values: float) -> Settled:
    return settle(session, book(session, values).run.id, terms)


def kinds(entries: Any) -> list[str]:
    return [entry.kind for entry in entries]


@pytest.fixture
def checked(staffed: Ledger) -> Iterator[Ledger]:
    """The staffed ledger, audited when the test is over."""
    yield staffed
    with staffed.reading() as session:
        found = audit(session)
        assert found.ok, [check for check in found.checks if not check.ok]


EVERYTHING = (
    Cap(amount=5000),
    Withholding(1000),
    Minimum(2000),
    Holdback(1000, "2026-01-01"),
    Vesting(((None, 1), ("2026-01-01", 1), ("2027-01-01", 1))),
)


@pytest.mark.parametrize(
    "terms", [pool(*EVERYTHING), rate(*EVERYTHING), rate(negative="carry"), rate(negative="slash")]
)
def test_a_settlement_that_nothing_happened_to_is_taken_back_whole(checked: Ledger, book: Book, terms: Terms) -> None:
    with checked.writing() as session:
        stakes.deposit(session, "carol", Amount.parse("50.00 EUR"), key="k")
        before = accounts(session)
        made = settled(session, book, terms, alice=0.75, bob=0.15, carol=-0.125)
        assert kinds(reverse(session, made.scope.runs[0], "wrong")) == ["reversal", "reversal"]
        assert accounts(session) == before
        assert holds.open_holds(session) == {}
        assert settle(session, made.scope.runs[0], terms).settlement.attempt == 2  # type: ignore[union-attr]


def test_a_refund_is_taken_back_before_the_settlement(checked: Ledger, book: Book) -> None:
    with checked.writing() as session:
        made = settled(session, book, rate(negative="carry"), alice=-0.5, bob=0.1)
        refund, settlement = reverse(session, made.scope.runs[0], "wrong")
        assert made.settlement is not None
        assert (refund.reverses, settlement.reverses) == (made.settlement.funding, made.settlement.entry)
        assert accounts(session) == {}


def test_what_was_paid_meanwhile_is_owed_and_netted_next(checked: Ledger, book: Book) -> None:
    with checked.writing() as session:
        made = settled(session, book, pool(), alice=0.75, bob=0.25)
        sent = payouts.start(session, "alice", "EUR", 7000, key="p")
        payouts.confirm(session, sent.id, key="c")
        posted = reverse(session, made.scope.runs[0], "wrong run")
        assert kinds(posted) == ["shortfall", "reversal", "reversal"]
        assert accounts(session) == {"paid:alice": 7000, "receivable:alice": 7000}
        parts = list(journal.parts_of(session, posted[0].sequence))
        assert [(part.contributor, part.payload) for part in parts] == [
            ("alice", '{"accounts":{"payable":"7000","receivable":"7000"}}')
        ]
        again = settle(session, made.scope.runs[0], pool(amount="200.00 EUR"))
        assert [(one.netted, one.paid) for one in again.outcome.payouts] == [(7000, 8000), (0, 5000)]


def test_a_debt_that_was_netted_since_is_given_back(checked: Ledger, book: Book) -> None:
    with checked.writing() as session:
        wrong = settled(session, book, rate(negative="carry"), alice=1.0, bob=-0.5)
        settled(session, book, rate(), alice=1.0, bob=0.25)
        assert accounts(session)["receivable:bob"] == 25_000
        reverse(session, wrong.scope.runs[0], "wrong run")
        after = accounts(session)
        assert "receivable:bob" not in after
        assert after["payable:bob"] == 25_000


def test_an_earlier_settlement_is_taken_back_under_a_later_one(checked: Ledger, book: Book) -> None:
    with checked.writing() as session:
        first = settled(session, book, pool(Minimum(6000)), alice=0.5, bob=0.5)
        settled(session, book, pool(Minimum(6000)), alice=0.5, bob=0.5)
        assert accounts(session) == {"buyer": 20_000, "payable:alice": 10_000, "payable:bob": 10_000}
        # What accrued by the first was paid by the second: it lies on payable, and is taken from there.
        reverse(session, first.scope.runs[0], "wrong")
        assert accounts(session) == {"buyer": 10_000, "payable:alice": 5000, "payable:bob": 5000}


def test_released_and_voided_holds_are_made_good_from_where_they_went(checked: Ledger, book: Book) -> None:
    agreed = pool(Holdback(1000, "2026-01-01"), Vesting(((None, 8), ("2026-01-01", 1), ("2027-01-01", 1))))
    with checked.writing() as session:
        made = settled(session, book, agreed, alice=1.0)
        other = settled(session, book, agreed, alice=1.0)
        assert made.settlement is not None
        mine = [hold for hold, _ in holds.left_of(session, made.settlement.entry)]
        assert [hold.amount for hold in mine] == [1000, 900, 900]
        posted = [holds.Change(mine[0].id, holds.POSTED, 600), holds.Change(mine[1].id, holds.POSTED)]
        holds.change(session, posted, kind="release", subject="early", key="r")
        voided = [holds.Change(mine[0].id, holds.VOIDED, 300), holds.Change(mine[2].id, holds.VOIDED)]
        holds.change(session, voided, kind="voided", subject="bad data", key="v")
        sent = payouts.start(session, "alice", "EUR", key="p")
        assert sent.amount == 7200 * 2 + 600 + 900
        assert kinds(reverse(session, made.scope.runs[0], "wrong")) == ["shortfall", "reversal", "reversal"]
        assert accounts(session) == {
            "buyer": 10_000,
            "in_flight:alice": 15_900,
            "receivable:alice": 7200 + 600 + 900,
            "holdback:alice": 1000,
            "vesting:alice": 1800,
        }
        assert other.settlement is not None
        assert {hold.entry for hold, _ in holds.open_holds(session).values() if hold.purpose != "payout"} == {
            other.settlement.entry
        }


@pytest.mark.parametrize("change", [holds.POSTED, holds.VOIDED])
def test_a_hold_whose_change_was_reversed_leaves_nothing_to_make_good(checked: Ledger, book: Book, change: str) -> None:
    with checked.writing() as session:
        made = settled(session, book, pool(Holdback(1000, "2026-01-01")), alice=1.0)
        assert made.settlement is not None
        ((hold, _),) = holds.left_of(session, made.settlement.entry)
        done = holds.change(session, [holds.Change(hold.id, change)], kind="change", subject="early", key="c")
        holds.reverse(session, done.entry.sequence, "too early")
        assert kinds(reverse(session, made.scope.runs[0], "wrong")) == ["reversal", "reversal"]
        assert accounts(session) == {}


def test_what_payees_were_paid_they_owe(checked: Ledger, book: Book) -> None:
    with checked.writing() as session:
        estates.set_estate(session, "alice", {"bob": 1, "carol": 3})
        made = settled(session, book, pool(), alice=1.0)
        payouts.start(session, "carol", "EUR", key="p")
        reverse(session, made.scope.runs[0], "wrong")
        assert accounts(session) == {"in_flight:carol": 7500, "receivable:carol": 7500}


def test_tax_and_surplus_that_left_the_books_come_from_where_they_went(checked: Ledger, book: Book) -> None:
    with checked.writing() as session:
        made = settled(session, book, pool(Cap(amount=5000), Withholding(1000)), alice=1.0)
        from ledger.lines import credit, debit

        lines = [
            debit("withheld", "EUR", 500),
            credit("bank", "EUR", 500),
            debit("surplus", "EUR", 5000),
            credit("buyer", "EUR", 5000),
        ]
        journal.post(session, kind="remittance", subject="march", key="k", payload={}, lines=lines)
        reverse(session, made.scope.runs[0], "wrong")
        assert accounts(session) == {}


def test_a_disputed_settlement_is_not_taken_back_before_the_dispute_is_resolved(checked: Ledger, book: Book) -> None:
    with checked.writing() as session:
        made = settled(session, book, pool(), alice=0.5, bob=0.5)
        assert made.settlement is not None
        claim = Amount.parse("10.00 EUR")
        dispute = disputes.open_dispute(session, "carol", "alice", made.settlement.entry, claim, "e" * 64)
        with pytest.raises(ReversalError, match=f"dispute {dispute.entry}"):
            reverse(session, made.scope.runs[0], "wrong")
        disputes.resolve(session, dispute.entry, "claimant", "shown")
        reverse(session, made.scope.runs[0], "wrong")
        # carol keeps what she won; alice owes it.
        assert accounts(session) == {"payable:carol": 1000, "receivable:alice": 1000}


def test_a_wrong_runs_settlement_is_corrected_and_the_statement_shows_both(checked: Ledger, book: Book) -> None:
    with checked.writing() as session:
        wrong = settled(session, book, pool(), alice=0.9, bob=0.1)
        reverse(session, wrong.scope.runs[0], "the wrong validation set")
        journal.reverse(session, registry_entry(session, wrong), "the wrong validation set")
        right = settled(session, book, pool(), alice=0.4, bob=0.6)
        made = statement(session, "alice")
        shown = {run.run: run.settlements for run in made.runs}
        (before,), (after,) = shown[wrong.scope.runs[0]], shown[right.scope.runs[0]]
        assert (before.payout.paid, after.payout.paid) == (9000, 4000)
        assert before.reversed_by is not None
        assert after.reversed_by is None
        assert accounts(session) == {"buyer": 10_000, "payable:alice": 4000, "payable:bob": 6000}


def registry_entry(session: Session, made: Settled) -> int:
    from ledger.valuation import run

    return run(session, made.scope.runs[0]).entry


def test_both_attempts_at_a_run_are_on_the_statement(checked: Ledger, book: Book) -> None:
    with checked.writing() as session:
        registry.add_contributor(session, "dan")
        made = settled(session, book, pool(amount="10.00 EUR"), alice=0.5, bob=0.5)
        reverse(session, made.scope.runs[0], "wrong budget")
        settle(session, made.scope.runs[0], pool(amount="30.00 EUR"))
        (run,) = statement(session, "bob").runs
        assert [(one.payout.paid, one.reversed_by is None) for one in run.settlements] == [(500, False), (1500, True)]


def test_a_settlement_that_moved_nothing_can_be_taken_back_too(checked: Ledger, book: Book) -> None:
    with checked.writing() as session:
        made = settled(session, book, rate(), alice=0.0)
        assert kinds(reverse(session, made.scope.runs[0], "other terms")) == ["reversal"]
        again = settle(session, made.scope.runs[0], rate(amount="7.00 EUR"))
        assert again.settlement is not None
        assert again.settlement.attempt == 2
