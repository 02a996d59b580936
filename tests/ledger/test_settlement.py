from collections.abc import Callable
from typing import Any

import pytest
from sqlmodel import Session

from ledger import balances, journal, registry, settlement
from ledger.database import Ledger
from ledger.errors import (
    AssetError,
    GapToleranceError,
    NoConsentError,
    NoImprovementError,
    NotSettledError,
    PartialRunError,
    RunReversedError,
    SettledAlreadyError,
    UnknownRunError,
)
from ledger.money import Amount
from ledger.policies import Cap, Minimum, Terms
from ledger.settlement import settle
from ledger.standing import held
from ledger.valuation import Booked

Book = Callable[..., Booked]


def pool(amount: str = "100.00 EUR", **options: Any) -> Terms:
    return Terms("pool", Amount.parse(amount), **options)


def rate(amount: str = "1000.00 EUR", **options: Any) -> Terms:
    return Terms("rate", Amount.parse(amount), **options)


def balance(session: Session, account: str) -> int:
    return balances.balances(session, account).get("EUR", 0)


def owed(session: Session) -> dict[str, int]:
    return held(session, "receivable", ["alice", "bob", "carol"], "EUR")


def test_a_pool_becomes_payables(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        run = book(session, {"alice": 0.75, "bob": 0.25, "carol": -0.125}).run
        settled = settle(session, run.id[:10], pool(fee_basis_points=100))
        assert [payout.paid for payout in settled.outcome.payouts] == [7425, 2475, 0]
        assert balance(session, "payable:alice") == 7425
        assert balance(session, "payable:bob") == 2475
        assert balance(session, "fee") == 100
        assert balance(session, "buyer") == 10_000
        assert balance(session, "escrow") == 0
        assert balance(session, "house") == 0
        assert settlement.outcome_of(session, settled.settlement) == settled.outcome  # type: ignore[arg-type]
        assert settlement.terms_of(session, settled.settlement) == settled.terms  # type: ignore[arg-type]


def test_a_rate_pays_house_and_gap_too(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        run = book(session, {"alice": 0.75, "bob": -0.25}, house=[0.125], gap=[0.001]).run
        settled = settle(session, run.id, rate(fee_basis_points=1000))
        assert [payout.share for payout in settled.outcome.payouts] == [75_000, -25_000]
        assert [payout.paid for payout in settled.outcome.payouts] == [75_000, 0]
        assert settled.outcome.payouts[1].forgiven == 25_000
        assert balance(session, "house") == 12_500 - 25_000
        assert balance(session, "gap") == 100
        assert balance(session, "fee") == 6260
        assert balance(session, "buyer") == 62_600 + 6260


def test_the_order_of_the_contributors_changes_no_payout(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        values = {"alice": 0.5, "bob": 0.5, "carol": 0.5}
        one = book(session, values).run
        other = book(session, dict(reversed(values.items()))).run
        paid = [
            {payout.contributor: payout.paid for payout in settle(session, run.id, pool()).outcome.payouts}
            for run in (one, other)
        ]
    assert paid[0] == paid[1] == {"alice": 3334, "bob": 3333, "carol": 3333}


def test_a_carried_debt_is_netted_from_later_runs_until_it_is_paid(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        bad = book(session, {"alice": 1.0, "bob": -0.5}).run
        first = settle(session, bad.id, rate(negative="carry"))
        assert first.outcome.payouts[1].carried == 50_000
        assert owed(session) == {"bob": 50_000}

        better = book(session, {"alice": 0.5, "bob": 0.2}).run
        second = settle(session, better.id, rate()).outcome.payouts[1]
        assert (second.share, second.netted, second.paid) == (20_000, 20_000, 0)
        assert owed(session) == {"bob": 30_000}

        good = book(session, {"alice": 0.5, "bob": 0.4}).run
        third = settle(session, good.id, pool("900.00 EUR")).outcome.payouts[1]
        assert (third.share, third.netted, third.paid) == (40_000, 30_000, 10_000)
        assert owed(session) == {}
        assert balance(session, "payable:bob") == 10_000


def test_a_debt_in_one_asset_is_not_netted_in_another(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        settle(session, book(session, {"alice": 1.0, "bob": -0.5}).run.id, rate(negative="carry"))
        settled = settle(session, book(session, {"alice": 0.5, "bob": 0.5}).run.id, pool("10.00 USD"))
    assert [payout.paid for payout in settled.outcome.payouts] == [500, 500]


def test_the_same_terms_again_return_the_first_settlement(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        run = book(session, {"alice": 0.5}).run
        first = settle(session, run.id, pool())
        head = journal.head(session)
        again = settle(session, run.id, pool())
        assert (first.repeated, again.repeated) == (False, True)
        assert (again.settlement, again.outcome) == (first.settlement, first.outcome)
        assert journal.head(session) == head


@pytest.mark.parametrize(
    "terms",
    [
        pool("100.01 EUR"),
        pool("100.00 USD"),
        pool(fee_basis_points=1),
        pool(negative="carry"),
        rate("100.00 EUR"),
        pool(policies=(Minimum(0),)),
        pool(policies=(Cap(amount=1),)),
    ],
)
def test_a_settled_run_is_not_settled_on_other_terms(staffed: Ledger, book: Book, terms: Terms) -> None:
    with staffed.writing() as session:
        run = book(session, {"alice": 0.5}).run
        settle(session, run.id, pool())
        with pytest.raises(SettledAlreadyError):
            settle(session, run.id, terms)


def test_a_dry_run_tells_the_payouts_and_writes_nothing(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        run = book(session, {"alice": 0.5, "bob": 0.25}).run
    with staffed.writing() as session:
        head = journal.head(session)
        told = settle(session, run.id, pool(), dry_run=True)
        assert (told.settlement, journal.head(session)) == (None, head)
        assert settle(session, run.id, pool()).outcome == told.outcome


def test_a_gap_beyond_the_ledgers_tolerance_is_refused(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        within = book(session, {"alice": 0.99}, gap=[0.0099]).run
        beyond = book(session, {"alice": 0.99}, gap=[0.0101]).run
        negative = book(session, {"alice": 1.02}, gap=[-0.0103]).run
        settle(session, within.id, pool())
        for run in (beyond, negative):
            with pytest.raises(GapToleranceError, match=r"0\.01 of"):
                settle(session, run.id, pool())


def test_a_pool_needs_an_improvement_and_somebody_who_made_it(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        worse = book(session, {"alice": -0.5, "bob": 0.1}).run
        nobody = book(session, {"alice": -0.1}, house=[0.5]).run
        for run, reason in ((worse, "is not positive"), (nobody, "no contributor's value")):
            with pytest.raises(NoImprovementError, match=reason):
                settle(session, run.id, pool())


def test_a_rate_settles_a_run_that_made_the_model_worse(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        run = book(session, {"alice": -0.5, "bob": 0.1}).run
        settled = settle(session, run.id, rate(negative="carry"))
        assert settled.outcome.funded == -40_000
        assert balance(session, "buyer") == -40_000
        assert balance(session, "escrow") == 0
        assert balance(session, "payable:bob") == 10_000
        assert owed(session) == {"alice": 50_000}


def test_a_run_worth_nothing_at_a_rate_has_no_funding_and_no_payout(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        settled = settle(session, book(session, {"alice": 0.0}).run.id, rate())
        assert settled.settlement is not None
        assert settled.settlement.funding is None
        assert journal.lines_of(session, settled.settlement.entry) == []


@pytest.mark.parametrize(
    ("given", "withdrawn", "allowed"),
    [
        ("2026-03-01", None, True),
        ("2026-03-02", None, False),
        ("2026-02-01", "2026-02-15", False),
        ("2026-02-01", "2026-03-01T11:59:59Z", False),
        ("2026-02-01", "2026-03-01T12:00:00Z", False),
        ("2026-02-01", "2026-03-02", True),
        (None, None, False),
    ],
)
@pytest.mark.parametrize("stated", [True, False])
def test_consent_counts_when_the_run_began(
    books: Ledger, book: Book, given: str | None, withdrawn: str | None, allowed: bool, stated: bool
) -> None:
    with books.writing() as session:
        registry.add_contributor(session, "alice")
        made = registry.register_dataset(session, "alice", ["x"], name="x", licence="MIT", consent_given_at=given)
        fingerprint = made.dataset.fingerprint
        if withdrawn:
            registry.withdraw_consent(session, fingerprint, withdrawn)
        run = book(session, {"alice": 0.5}, data={"alice": [fingerprint]} if stated else {}).run
        if allowed:
            settle(session, run.id, pool())
        else:
            with pytest.raises(NoConsentError, match="alice"):
                settle(session, run.id, pool())


def test_every_dataset_that_the_run_states_needs_consent(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        (first,) = registry.datasets(session, "alice")
        made = registry.register_dataset(session, "alice", ["y"], name="y", licence="MIT", consent_given_at=None)
        both = {"alice": [first.fingerprint, made.dataset.fingerprint]}
        with pytest.raises(NoConsentError) as caught:
            settle(session, book(session, {"alice": 0.5}, data=both).run.id, pool())
        assert caught.value.fingerprint == made.dataset.fingerprint
        settle(session, book(session, {"alice": 0.5}, data={"alice": [first.fingerprint]}).run.id, pool())


def test_who_supplied_no_row_needs_no_consent(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        registry.add_contributor(session, "idle")
        settle(session, book(session, {"alice": 0.5, "idle": 0.0}).run.id, pool())


def test_a_partial_run_is_settled_only_when_asked(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        run = book(session, {"alice": 0.5}, complete=False, partial=True).run
        with pytest.raises(PartialRunError):
            settle(session, run.id, pool())
        settle(session, run.id, pool(partial=True))


def test_an_unknown_or_reversed_run_is_not_settled(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        with pytest.raises(UnknownRunError):
            settle(session, "abcdef", pool())
        run = book(session, {"alice": 0.5}).run
        journal.reverse(session, run.entry, "wrong")
        with pytest.raises(RunReversedError):
            settle(session, run.id, pool())


def test_a_token_with_other_decimals_than_before_is_refused(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        settle(session, book(session, {"alice": 0.5}).run.id, Terms("pool", Amount.parse("5 TOK", exponent=6)))
        with pytest.raises(AssetError):
            settle(session, book(session, {"alice": 0.5}).run.id, Terms("pool", Amount.parse("5 TOK", exponent=18)))


def test_wei_amounts_beyond_64_bits_are_paid_exactly(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        budget = Amount.parse("115792089237316195423570985008687907853269984665640564039457.0 ETHX", exponent=18)
        settle(session, book(session, {"alice": 0.3, "bob": 0.2, "carol": 0.1}).run.id, Terms("pool", budget))
        paid = [balances.balance(session, f"payable:{name}", "ETHX") for name in ("alice", "bob", "carol")]
    assert sum(paid) == budget.minor


def test_a_reversed_settlement_gives_everything_back_and_may_be_made_anew(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        run = book(session, {"alice": 0.5, "bob": -0.25}).run
        settle(session, run.id, rate(negative="carry"))
        settlement.reverse(session, run.id, "wrong price")
        for account in ("payable:alice", "receivable:bob", "escrow", "buyer", "house"):
            assert balance(session, account) == 0
        anew = settle(session, run.id, pool())
        assert anew.settlement is not None
        assert anew.settlement.attempt == 2
        with pytest.raises(NotSettledError):
            settlement.reverse(session, book(session, {"alice": 0.5}).run.id, "not settled")


def test_the_same_data_give_the_same_payouts(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        runs = [book(session, {"alice": 0.3, "bob": 0.1, "carol": 0.2}).run for _ in range(2)]
        one, other = (settle(session, run.id, pool("999.99 EUR")).outcome for run in runs)
    assert one == other
