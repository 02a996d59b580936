import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import pytest

from ledger import journal, payouts, personal, registry, stakes
from ledger.database import Ledger
from ledger.errors import UnknownContributorError
from ledger.estates import set_estate
from ledger.money import Amount
from ledger.policies import Holdback
from ledger.policies.terms import Negative, Terms
from ledger.settlement import reverse, settle
from ledger.statement import statement
from ledger.valuation import Booked

Book = Callable[..., Booked]


def rate(negative: Negative) -> Terms:
    return Terms("rate", Amount.parse("10.00 EUR"), negative)


def test_a_statement_says_what_was_supplied_what_it_was_worth_and_what_is_owed(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        two = {"tasks": ["sport", "business"], "weights": [0.25, 0.75], "house": [0, 0], "gap": [0, 0]}
        run = book(session, {"alice": [0.5, 0.5], "bob": [-0.25, 0.25]}, rows={"alice": 6, "bob": 2}, **two).run
        settle(session, run.id, Terms("pool", Amount.parse("100.00 EUR")))
        worse = book(session, {"alice": 1.0, "bob": -0.5}).run
        settle(session, worse.id, Terms("rate", Amount.parse("10.00 EUR"), "carry"))
    with staffed.reading() as session:
        found = statement(session, "bob")
        assert found.head == journal.head(session)[1]
    (supplied,) = found.datasets
    assert (supplied.dataset.record_count, supplied.dataset.licence, supplied.consent_now) == (2, "CC-BY-4.0", True)
    assert supplied.consents == [("given", "2026-01-01T00:00:00.000000Z")]
    first, second = found.runs
    assert (first.rows, first.rows_of_all) == (8, 32)
    assert [(task.task, task.value, task.share) for task in first.tasks] == [
        ("sport", -250_000_000_000, Fraction(-1)),
        ("business", 250_000_000_000, Fraction(1, 3)),
    ]
    assert (first.value, first.share) == (125_000_000_000, Fraction(1, 5))
    assert first.settlements[0].payout.paid == 2000
    assert second.settlements[0].payout.carried == 500
    (balance,) = found.balances
    assert (balance.asset, balance.payable, balance.receivable) == ("EUR", 2000, 500)


def test_a_statement_is_plain_json_with_exact_amounts(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        run = book(session, {"alice": 0.5, "bob": 0.25}).run
        settle(session, run.id, Terms("pool", Amount.parse("0.000000000000000003 ETHX", exponent=18)))
    with staffed.reading() as session:
        shown = json.loads(json.dumps(statement(session, "alice").as_json()))
    assert shown["runs"][0]["value_nats"] == "0.500000000000"
    assert shown["runs"][0]["settlements"][0]["paid"] == "0.000000000000000002"
    assert shown["balances"] == [
        {"asset": "ETHX", "payable": "0.000000000000000002", "receivable": "0.000000000000000000"}
    ]


def test_what_was_reversed_is_shown_as_reversed(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        run = book(session, {"alice": 0.5}).run
        settle(session, run.id, Terms("pool", Amount.parse("100.00 EUR")))
        reverse(session, run.id, "wrong")
        found = statement(session, "alice")
    assert found.runs[0].settlements[0].reversed_by is not None
    assert found.balances[0].payable == 0


def test_a_reversed_run_is_shown_as_reversed_to_whom_it_was_worth_nothing_too(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        run = book(session, {"alice": 0.5, "carol": 0.0}).run
        reversal = journal.reverse(session, run.entry, "the wrong record").entry.sequence
        for name in ("alice", "carol"):
            assert [valued.reversed_by for valued in statement(session, name).runs] == [reversal]


def test_withdrawn_consent_is_shown(staffed: Ledger) -> None:
    with staffed.writing() as session:
        registry.withdraw_consent(session, registry.datasets(session, "alice")[0].fingerprint, "2026-02-01")
        (supplied,) = statement(session, "alice").datasets
    assert not supplied.consent_now
    assert [change for change, _ in supplied.consents] == ["given", "withdrawn"]


def test_an_unknown_contributor_has_no_statement(books: Ledger) -> None:
    with books.reading() as session, pytest.raises(UnknownContributorError):
        statement(session, "nobody")


def test_every_balance_is_the_sum_of_the_movements_that_are_shown(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        kept_back = Terms("pool", Amount.parse("100.00 EUR"), policies=(Holdback(1000, "2027-01-01"),))
        settle(session, book(session, {"alice": 0.5, "bob": 0.25}).run.id, kept_back)
        settle(session, book(session, {"alice": -0.5, "bob": 0.25}).run.id, rate("carry"))
        settle(session, book(session, {"alice": 0.25}).run.id, rate("carry"))
        payouts.start(session, "alice", "EUR", 1000, key="payout:1")
        stakes.deposit(session, "alice", Amount.parse("3.00 USD"), key="deposit:1")
        found = statement(session, "alice")
    sums: dict[tuple[str, str], int] = defaultdict(int)
    for moved in found.movements:
        sums[moved.asset, moved.account] += moved.amount
    held = {(balance.asset, kind): amount for balance in found.balances for kind, amount in balance.accounts.items()}
    assert held == sums
    assert {kind for _, kind in held} == {"payable", "receivable", "holdback", "in_flight", "stake"}
    shown = {balance["asset"]: balance for balance in found.as_json()["balances"]}
    assert shown["EUR"]["in_flight"] == "10.00"
    assert shown["USD"] == {"asset": "USD", "payable": "0.00", "receivable": "0.00", "stake": "3.00"}


def test_a_settlement_of_several_runs_is_shown_with_each_of_them(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        runs = [book(session, {"alice": value}).run.id for value in (0.5, 0.25)]
        entry = settle(session, runs, rate("floor")).settlement
        found = statement(session, "alice")
    assert entry is not None
    assert [[made.entry for made in run.settlements] for run in found.runs] == [[entry.entry], [entry.entry]]
    assert found.runs[0].settlements[0].runs == sorted(runs)


def test_payees_see_what_they_get_in_anothers_stead_and_nothing_of_the_run(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        set_estate(session, "alice", {"carol": 1, "alice": 3})
        settle(session, book(session, {"alice": 0.5}).run.id, Terms("pool", Amount.parse("100.00 EUR")))
        heir, alice = statement(session, "carol"), statement(session, "alice")
    assert heir.runs == []
    assert [(moved.account, moved.amount) for moved in heir.movements] == [("payable", 2500)]
    assert alice.payees == {"alice": 3, "carol": 1}
    assert alice.runs[0].settlements[0].payout.payees == {"alice": 7500, "carol": 2500}


def test_a_statement_as_of_an_entry_knows_nothing_of_what_came_later(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        run = book(session, {"alice": 0.5}).run
        count, head = journal.head(session)
        before = statement(session, "alice")
        settle(session, run.id, Terms("pool", Amount.parse("100.00 EUR")))
        registry.withdraw_consent(session, registry.datasets(session, "alice")[0].fingerprint, "2026-02-01")
        again = statement(session, "alice", through=count)
    assert replace(again, made_at=before.made_at) == before
    assert (again.entries, again.head) == (count, head)


def test_an_erased_name_is_not_shown(staffed: Ledger) -> None:
    with staffed.writing() as session:
        assert statement(session, "alice").as_json()["name"] == "Alice"
        personal.erase(session, "alice")
        shown = statement(session, "alice").as_json()
    assert (shown["contributor"], shown["name"], shown["name_salt"]) == ("alice", None, None)
