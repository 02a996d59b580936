from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, select

from ledger import appeals, balances, disputes, journal, settlement
from ledger.audit import audit
from ledger.database import Ledger
from ledger.disputes import CLAIMANT, RESPONDENT
from ledger.errors import DisputeError, NoValuationError, ReversalError, SettlementRefusedError
from ledger.later_valuations import add
from ledger.models import Dispute, Settlement
from ledger.money import Amount
from ledger.policies import Holdback, Terms
from ledger.settlement import settle
from ledger.valuation import book_run
from tests.ledger.records import synthetic_record, with_beside

OWN = {"alice": [0.75], "bob": [0.25], "carol": [-0.125]}
OTHER = {"alice": [0.25], "bob": [0.25], "carol": [0.375]}
RETRAINED = {"alice": [0.25], "bob": [0.25], "carol": [0.5]}
EVIDENCE = "e" * 64
ACCOUNTS = ("buyer", "house", "payable:alice", "payable:bob", "payable:carol", "disputed:alice", "holdback:carol")


def booked(session: Session, folder: Path) -> str:
    record = synthetic_record(OWN, method={"name": "path", "every": 1})
    return book_run(session, with_beside(record, counterfactual=OTHER).save(folder / "run")).run.id


def retrained(folder: Path, values: Any = None) -> Path:
    made = synthetic_record(values or RETRAINED, method={"name": "retraining"}, steps=1)
    return made.save(folder / "retrained")


def pool(**options: Any) -> Terms:
    return Terms("pool", Amount.parse("100.00 EUR"), **options)


def settled(session: Session, run: str, **options: Any) -> int:
    made = settle(session, run, pool(**options)).settlement
    assert made is not None
    return made.entry


def claim(session: Session, about: int, calls_for: str | None, amount: str = "30.00 EUR", **options: Any) -> Dispute:
    sides = {"claimant": "carol", "respondent": "alice", **options}
    claimed = Amount.parse(amount)
    return disputes.open_dispute(
        session, settlement=about, amount=claimed, evidence=EVIDENCE, calls_for=calls_for, **sides
    )


def money(session: Session) -> dict[str, int]:
    return {account: balances.balances(session, account).get("EUR", 0) for account in ACCOUNTS}


def test_an_upheld_call_settles_all_anew_as_if_by_that_valuation_at_once(staffed: Ledger, tmp_path: Path) -> None:
    with staffed.writing() as session:
        run = booked(session, tmp_path)
        with session.begin_nested() as undone:
            settled(session, run, by="counterfactual")
            at_once = money(session)
            undone.rollback()
        first = settled(session, run)
        opened = claim(session, first, "counterfactual")
        assert money(session)["disputed:alice"] == 3000
        made = appeals.resolve(session, opened.entry, CLAIMANT, "absence counts")
        assert money(session) == at_once
        assert made.resolution.payout == at_once["payable:carol"] == 4286
        assert made.settled is not None
        assert made.settled.terms == pool(by="counterfactual")
        anew = appeals.settled_anew(session, opened)
        assert anew == made.settled.settlement
        assert appeals.resolve(session, opened.entry, CLAIMANT, "absence counts").resolution == made.resolution
        assert money(session) == at_once
        assert audit(session).ok


def test_a_dearer_valuation_is_called_for_before_it_is_made(staffed_file: Ledger, tmp_path: Path) -> None:
    with staffed_file.writing() as session:
        run = booked(session, tmp_path)
        opened = claim(session, settled(session, run), "retraining")
        before = journal.head(session)
        with pytest.raises(NoValuationError, match="no valuation 'retraining'; it carries 'step', 'counterfactual'"):
            appeals.resolve(session, opened.entry, CLAIMANT, "the court trained again")
        assert journal.head(session) == before
        add(session, run, retrained(tmp_path))
        made = appeals.resolve(session, opened.entry, CLAIMANT, "the court trained again")
        assert made.resolution.payout == 5000
        assert money(session)["payable:carol"] == 5000
        assert audit(session).ok


def test_a_refused_call_gives_back_what_was_held_and_leaves_the_settlement(
    staffed_file: Ledger, tmp_path: Path
) -> None:
    with staffed_file.writing() as session:
        run = booked(session, tmp_path)
        first = settled(session, run)
        before = money(session)
        opened = claim(session, first, "retraining")
        made = appeals.resolve(session, opened.entry, RESPONDENT, "nobody pays for that")
        assert (made.settled, made.resolution.payout) == (None, None)
        assert money(session) == before
        assert journal.reversal_of(session, first) is None
        assert audit(session).ok


@pytest.mark.parametrize(
    ("by", "calls_for", "reason"),
    [
        (None, "step", "pays by valuation 'step' already"),
        ("counterfactual", "counterfactual", "pays by valuation 'counterfactual' already"),
        (None, "run", "no valuation 'run'; of those to be made, what is dearer than 'step'"),
        (None, "run", "'counterfactual', 'replay', 'retraining'"),
        ("counterfactual", "run", "can be called for: 'replay', 'retraining'"),
    ],
)
def test_what_is_not_there_and_not_dearer_cannot_be_called_for(
    staffed_file: Ledger, tmp_path: Path, by: str | None, calls_for: str, reason: str
) -> None:
    with staffed_file.writing() as session:
        about = settled(session, booked(session, tmp_path), by=by)
        with pytest.raises(DisputeError, match=reason):
            claim(session, about, calls_for, "1.00 EUR")


def test_a_cheaper_valuation_that_is_there_can_be_called_for(staffed_file: Ledger, tmp_path: Path) -> None:
    with staffed_file.writing() as session:
        run = booked(session, tmp_path)
        opened = claim(
            session,
            settled(session, run, by="counterfactual"),
            "step",
            "1.00 EUR",
            claimant="alice",
            respondent="carol",
        )
        made = appeals.resolve(session, opened.entry, CLAIMANT, "agreed on beforehand")
        assert made.settled is not None
        assert made.settled.terms.by is None
        assert made.resolution.payout == money(session)["payable:alice"] == 7500
        assert audit(session).ok


def test_the_difference_counts_what_is_held_back_too(staffed_file: Ledger, tmp_path: Path) -> None:
    with staffed_file.writing() as session:
        run = booked(session, tmp_path)
        about = settled(session, run, policies=(Holdback(5000, "2027-01-01"),))
        assert appeals.difference(session, about, "carol", "counterfactual") == Amount.parse("42.86 EUR")
        with pytest.raises(DisputeError, match=r"would have been given 28.57 EUR, and was given 75.00 EUR"):
            appeals.difference(session, about, "alice", "counterfactual")
        with pytest.raises(DisputeError, match="entry 1 is no settlement"):
            appeals.difference(session, 1, "alice", "counterfactual")


def test_two_calls_about_one_settlement_are_decided_one_after_the_other(staffed_file: Ledger, tmp_path: Path) -> None:
    with staffed_file.writing() as session:
        about = settled(session, booked(session, tmp_path))
        one = claim(session, about, "counterfactual")
        two = claim(session, about, "retraining", "1.00 EUR", claimant="bob")
        before = journal.head(session)
        with pytest.raises(ReversalError, match=f"dispute {two.entry} about it is open"):
            appeals.resolve(session, one.entry, CLAIMANT, "absence counts")
        assert journal.head(session) == before
        appeals.resolve(session, two.entry, RESPONDENT, "no")
        appeals.resolve(session, one.entry, CLAIMANT, "absence counts")
        assert audit(session).ok


def test_a_call_for_what_cannot_be_settled_is_not_upheld(staffed_file: Ledger, tmp_path: Path) -> None:
    with staffed_file.writing() as session:
        run = booked(session, tmp_path)
        opened = claim(session, settled(session, run), "retraining")
        harm = {"alice": [-0.25], "bob": [-0.25], "carol": [0.25]}
        add(session, run, retrained(tmp_path, harm))
        before = journal.head(session)
        with pytest.raises(SettlementRefusedError, match="not positive"):
            appeals.resolve(session, opened.entry, CLAIMANT, "the court trained again")
        assert journal.head(session) == before


def test_what_calls_for_a_valuation_is_not_resolved_without_it(staffed_file: Ledger, tmp_path: Path) -> None:
    with staffed_file.writing() as session:
        opened = claim(session, settled(session, booked(session, tmp_path)), "counterfactual")
        with pytest.raises(DisputeError, match="with what it calls for, counterfactual"):
            disputes.resolve(session, opened.entry, CLAIMANT, "absence counts")
        plain = claim(session, opened.settlement, None, "1.00 EUR")
        with pytest.raises(DisputeError, match="with what it calls for, nothing"):
            disputes.resolve(session, plain.entry, CLAIMANT, "hers", payout=1)


def test_one_task_is_settled_anew_alone(staffed_file: Ledger, tmp_path: Path) -> None:
    tasks: dict[str, Any] = {"tasks": ("sport", "news"), "weights": (0.5, 0.5), "house": (0, 0), "gap": (0, 0)}
    values = {"alice": [0.75, 0.5], "bob": [0.25, 0.5]}
    other = {"alice": [0.25, 0.5], "bob": [0.75, 0.5]}
    with staffed_file.writing() as session:
        record = with_beside(synthetic_record(values, method={"name": "path", "every": "run"}, **tasks), step=other)
        run = book_run(session, record.save(tmp_path / "run")).run.id
        sport, news = settled(session, run, task="sport"), settled(session, run, task="news")
        opened = claim(session, sport, "step", claimant="bob")
        appeals.resolve(session, opened.entry, CLAIMANT, "agreed")
        assert money(session)["payable:bob"] == 7500 + 5000
        assert settlement.attempts(session, settlement.scope_of(session, run, "news"))[-1].entry == news
        assert session.exec(select(Settlement.valuation)).all() == [None, None, "step"]
        assert audit(session).ok
