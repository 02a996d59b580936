from pathlib import Path
from typing import Any

from sqlmodel import Session

from ledger import corrections, evidence, other_valuations, settlement
from ledger.database import Ledger
from ledger.money import Amount
from ledger.policies import Terms
from ledger.settlement import settle
from ledger.statement import statement
from ledger.valuation import book_run
from tests.ledger.records import synthetic_record, with_beside

OWN = {"alice": [0.75], "bob": [0.25], "carol": [-0.125]}
OTHER = {"alice": [0.5], "bob": [0.0], "carol": [0.375]}
NAMES = ["step", "counterfactual"]


def booked(session: Session, folder: Path) -> str:
    record = synthetic_record(OWN, method={"name": "path", "every": 1})
    return book_run(session, with_beside(record, counterfactual=OTHER).save(folder / "run")).run.id


def said(session: Session, who: str) -> dict[str, Any]:
    run: dict[str, Any] = statement(session, who).as_json()["runs"][0]
    return run


def terms(by: str | None = None) -> Terms:
    return Terms("pool", Amount.parse("100.00 EUR"), by=by)


def test_valuations_are_shown_side_by_side_to_whom_they_disagree_about(staffed: Ledger, tmp_path: Path) -> None:
    with staffed.writing() as session:
        run = booked(session, tmp_path)
        for who in ("alice", "bob"):
            assert "valuations" not in said(session, who)
        shown = said(session, "carol")["valuations"]
        assert [one["name"] for one in shown] == NAMES
        assert [one["value_nats"] for one in shown] == ["-0.125000000000", "0.375000000000"]
        assert [one["paid_by"] for one in shown] == [False, False]
        settle(session, run, terms("counterfactual"))
        shown = said(session, "carol")["valuations"]
        assert [one["paid_by"] for one in shown] == [False, True]
        settlement.reverse(session, run, "by its own instead")
        settle(session, run, terms())
        assert [one["paid_by"] for one in said(session, "carol")["valuations"]] == [True, False]


def test_what_disagrees_with_what_was_not_paid_by_is_no_news(staffed_file: Ledger, tmp_path: Path) -> None:
    """Paid by a value of nothing, which has no sign."""
    beside = {"counterfactual": {"alice": [0.75], "bob": [0.125], "carol": [0.0]}}
    with staffed_file.writing() as session:
        record = with_beside(
            synthetic_record({**OWN, "carol": [-0.125]}, method={"name": "path", "every": 1}), **beside
        )
        run = book_run(session, record.save(tmp_path / "run")).run.id
        settle(session, run, terms("counterfactual"))
        assert "valuations" not in said(session, "carol")


def test_money_and_balances_know_nothing_of_other_valuations(staffed_file: Ledger, tmp_path: Path) -> None:
    with staffed_file.writing() as session:
        booked(session, tmp_path)
        found = statement(session, "carol")
        assert (found.balances, found.movements) == ([], [])
        assert list(evidence.facts(session, "carol").of("commodity")) == []
        assert found.runs[0].value == -125 * 10**9


def test_a_reversed_valuation_is_not_shown(staffed_file: Ledger, tmp_path: Path) -> None:
    with staffed_file.writing() as session:
        run = booked(session, tmp_path)
        (other,) = other_valuations.others(session, run)
        corrections.reverse_entry(session, other.entry, "of another run")
        assert "valuations" not in said(session, "carol")
