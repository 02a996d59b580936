"""Settlements of several runs and of single tasks, and that no value is paid for twice."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlmodel import Session

from ledger import settlement
from ledger.audit import audit
from ledger.database import Ledger
from ledger.errors import (
    GapToleranceError,
    NoConsentError,
    NoImprovementError,
    NotSettledError,
    SettledAlreadyError,
    SettledElsewhereError,
    TermsError,
    UnknownRunError,
)
from ledger.money import Amount
from ledger.policies import Terms
from ledger.scope import Scope, scope_of, settled_scope
from ledger.settlement import reverse, settle
from ledger.valuation import Booked

Book = Callable[..., Booked]
TWO = {"tasks": ["sport", "business"], "weights": [0.25, 0.75], "house": [0.0, 0.0], "gap": [0.0, 0.0]}


def pool(amount: str = "100.00 EUR", **options: Any) -> Terms:
    return Terms("pool", Amount.parse(amount), **options)


def rate(amount: str = "1000.00 EUR", **options: Any) -> Terms:
    return Terms("rate", Amount.parse(amount), **options)


def two_tasks(session: Session, book: Book) -> str:
    return book(session, {"alice": [0.5, 0.25], "bob": [-0.25, 0.25]}, **TWO).run.id


def test_the_values_of_several_runs_are_settled_together(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        first = book(session, {"alice": 0.5, "bob": 0.25}, house=[0.125]).run
        second = book(session, {"bob": -0.125, "carol": 0.25}, gap=[0.001]).run
        settled = settle(session, [second.id[:12], first.id], rate())
        assert settled.scope == Scope(tuple(sorted([first.id, second.id])))
        assert {payout.contributor: payout.share for payout in settled.outcome.payouts} == {
            "alice": 50_000,
            "bob": 12_500,
            "carol": 25_000,
        }
        assert (settled.outcome.house, settled.outcome.gap, settled.outcome.funded) == (12_500, 100, 100_100)
        assert settled.settlement is not None
        assert settled_scope(session, settled.settlement) == settled.scope
        assert settle(session, [first.id, second.id, first.id], rate()).repeated
    with staffed.reading() as session:
        assert audit(session).ok


def test_one_bad_run_does_not_keep_a_pool_from_being_divided_by_the_sum(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        bad, good = book(session, {"alice": -0.25, "bob": 0.1}).run, book(session, {"alice": 0.5, "bob": 0.15}).run
        with pytest.raises(NoImprovementError, match=bad.id[:12]):
            settle(session, bad.id, pool())
        settled = settle(session, [bad.id, good.id], pool())
        assert [payout.paid for payout in sorted(settled.outcome.payouts, key=lambda one: one.contributor)] == [
            5000,
            5000,
        ]


def test_a_task_is_settled_by_its_own_unweighted_values(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        run = two_tasks(session, book)
        sport = settle(session, run, rate(task="sport"))
        business = settle(session, run, rate(task="business"))
        assert {one.contributor: one.value for one in sport.outcome.payouts} == {
            "alice": 500_000_000_000,
            "bob": -250_000_000_000,
        }
        assert [one.share for one in business.outcome.payouts] == [25_000, 25_000]
        assert len({sport.scope.subject, business.scope.subject, run}) == 3
    with staffed.reading() as session:
        assert audit(session).ok


def test_the_gap_that_counts_is_the_tasks_own(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        options = TWO | {"gap": [0.5, 0.0]}
        run = book(session, {"alice": [0.5, 0.5]}, **options).run.id
        settle(session, run, rate(task="business"))
        with pytest.raises(GapToleranceError):
            settle(session, run, rate(task="sport"))


@pytest.mark.parametrize(
    ("first", "then", "allowed"),
    [
        ((["a"], None), (["a", "b"], None), False),
        ((["a", "b"], None), (["b"], None), False),
        ((["a", "b"], None), (["b", "c"], None), False),
        ((["a"], None), (["b"], None), True),
        ((["a"], "sport"), (["a"], "business"), True),
        ((["a"], "sport"), (["a"], None), False),
        ((["a"], None), (["a"], "sport"), False),
        ((["a"], "sport"), (["a", "b"], "sport"), False),
        ((["a"], "sport"), (["a", "b"], "business"), True),
        ((["a"], "sport"), (["b"], None), True),
    ],
)
def test_no_value_is_paid_for_twice(staffed: Ledger, book: Book, first: Any, then: Any, allowed: bool) -> None:
    with staffed.writing() as session:
        runs = {name: two_tasks(session, book) for name in "abc"}
        (some, task), (others, other_task) = first, then
        made = settle(session, [runs[name] for name in some], pool(task=task))
        again = [runs[name] for name in others]
        if allowed:
            settle(session, again, pool(task=other_task))
            return
        with pytest.raises(SettledElsewhereError) as caught:
            settle(session, again, pool(task=other_task))
        assert made.settlement is not None
        assert caught.value.sequence == made.settlement.entry
        assert str(made.scope) in str(caught.value)
        reverse(session, [runs[name] for name in some], "in another combination", task=task)
        settle(session, again, pool(task=other_task))
    with staffed.reading() as session:
        assert audit(session).ok


def test_every_run_of_a_settlement_needs_consent(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        good = book(session, {"alice": 0.5}).run.id
        early = book(session, {"bob": 0.5}, began_at="2025-12-31T00:00:00Z").run.id
        with pytest.raises(NoConsentError) as caught:
            settle(session, [good, early], pool())
        assert (caught.value.run, caught.value.contributor) == (early, "bob")


def test_a_task_that_a_run_does_not_have_is_refused_with_those_it_has(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        runs = [two_tasks(session, book), book(session, {"alice": 0.5}).run.id]
        with pytest.raises(TermsError, match="it has objective"):
            settle(session, runs, pool(task="sport"))


def test_only_exactly_what_was_settled_is_reversed(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        runs = [two_tasks(session, book) for _ in range(2)]
        settle(session, runs, pool())
        with pytest.raises(NotSettledError):
            reverse(session, runs[0], "half of it")
        with pytest.raises(NotSettledError):
            reverse(session, runs, "a task of it", task="sport")
        with pytest.raises(UnknownRunError):
            reverse(session, "abcd", "nothing")
        reverse(session, runs, "all of it")
        assert settlement.settlement_of(session, scope_of(session, runs)) is None


def test_other_terms_for_the_same_runs_are_refused_by_the_term(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        runs = [two_tasks(session, book) for _ in range(2)]
        settle(session, runs, pool())
        with pytest.raises(SettledAlreadyError, match=r"amount was 100\.00 EUR, not 100\.01 EUR"):
            settle(session, runs, pool("100.01 EUR"))


def test_a_whole_run_is_named_by_itself_and_anything_else_by_a_digest() -> None:
    run, other = "a" * 64, "b" * 64
    assert Scope((run,)).subject == run
    digests = {Scope((run,), "sport").subject, Scope((run, other)).subject, Scope((run, other), "sport").subject}
    assert len(digests) == 3
    assert all(digest.startswith("sha256:") and len(digest) == 71 for digest in digests)
