import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import Session, select

from attribution.record import RunRecord
from attribution.retraining_values import RetrainingValues
from ledger import balances, corrections, journal, other_valuations, registry, settlement
from ledger.audit import audit
from ledger.database import Ledger
from ledger.errors import (
    GapToleranceError,
    NoValuationError,
    OtherValuationError,
    ReversalError,
    SettledAlreadyError,
    ValuationReversedError,
    ValuationTakenError,
)
from ledger.later_valuations import add
from ledger.lines import imbalance
from ledger.models import Entry
from ledger.money import Amount
from ledger.policies import Terms
from ledger.registry import Task
from ledger.settlement import settle
from ledger.valuation import book_run
from ledger.valuation_names import commodity_of, is_dearer, own_name
from tests.ledger.records import synthetic_record, with_beside

NAT = 10**12
OWN = {"alice": [0.75], "bob": [0.25], "carol": [-0.125]}
OTHER = {"alice": [0.25], "bob": [0.125], "carol": [0.5]}
TWO_TASKS: dict[str, Any] = {"tasks": ("sport", "news"), "weights": (0.5, 0.5), "house": (0, 0), "gap": (0, 0)}
STEP = {"name": "path", "every": 1}


def record(values: Mapping[str, list[float]] = OWN, **options: Any) -> RunRecord:
    return synthetic_record(values, **{"method": STEP, **options})


def retrained(values: Mapping[str, list[float]] = OTHER, **options: Any) -> RunRecord:
    return synthetic_record(values, steps=1, **{"method": {"name": "retraining"}, **options})


def booked(session: Session, folder: Path, made: RunRecord | None = None, name: str = "run") -> str:
    made = made or with_beside(record(), counterfactual=OTHER)
    return book_run(session, made.save(folder / name)).run.id


def terms(by: str | None = None, **options: Any) -> Terms:
    return Terms("pool", Amount.parse("100.00 EUR"), by=by, **options)


def kinds(session: Session) -> list[str]:
    return list(session.exec(select(Entry.kind).order_by(Entry.sequence)))  # type: ignore[arg-type]


def held(session: Session, *accounts: str) -> list[dict[str, int]]:
    return [balances.balances(session, account) for account in accounts]


# Booked with the run


def test_what_a_record_carries_is_booked_in_commodities_that_never_mix(staffed: Ledger, tmp_path: Path) -> None:
    with staffed.writing() as session:
        run = booked(session, tmp_path)
        assert kinds(session)[-3:] == ["valuation", "commodity", "other valuation"]
        assert held(session, "value:alice", "value:carol", "improvement") == [
            {"nat": 75 * NAT // 100, "nat.counterfactual": NAT // 4},
            {"nat": -NAT // 8, "nat.counterfactual": NAT // 2},
            {"nat": 875 * NAT // 1000, "nat.counterfactual": 875 * NAT // 1000},
        ]
        entry = other_valuations.others(session, run)[0].entry
        assert imbalance(journal.lines_of(session, entry)) == {}
        assert other_valuations.carried(session, run) == ["step", "counterfactual"]
        assert audit(session).ok


def test_a_run_without_others_books_what_it_always_did(staffed_file: Ledger, tmp_path: Path) -> None:
    with staffed_file.writing() as session:
        before = kinds(session)
        run = booked(session, tmp_path, record())
        assert kinds(session) == [*before, "valuation"]
        settled = settle(session, run, terms())
        said = json.loads(journal.entry(session, settled.settlement.entry).payload)  # type: ignore[union-attr]
        assert "by" not in said["terms"]
        assert other_valuations.carried(session, run) == ["step"]


def test_the_second_run_uses_the_commodity_of_the_first(staffed_file: Ledger, tmp_path: Path) -> None:
    with staffed_file.writing() as session:
        booked(session, tmp_path, name="one")
        booked(session, tmp_path, with_beside(record(seed=2), counterfactual=OTHER), name="two")
        assert kinds(session)[-5:] == [
            *("valuation", "commodity", "other valuation"),
            *("valuation", "other valuation"),
        ]
        assert held(session, "value:alice") == [{"nat": 3 * NAT // 2, "nat.counterfactual": NAT // 2}]


@pytest.mark.parametrize(
    ("method", "name"),
    [
        ({"name": "path", "every": 1}, "step"),
        ({"name": "first_order", "every": 8}, "8 steps"),
        ({"name": "path", "every": "run"}, "run"),
        ({"name": "counterfactual", "every": 1}, "counterfactual"),
        ({"name": "replay"}, "replay"),
        ({"name": "retraining"}, "retraining"),
        ({"name": "equal shares"}, "equal shares"),
        ("path", "path"),
        (None, "own"),
    ],
)
def test_a_records_own_valuation_is_named_by_its_method(method: Any, name: str) -> None:
    assert own_name({"method": method}) == name


def test_names_that_differ_have_commodities_that_differ() -> None:
    names = ["8 steps", "8-steps", "8_steps", "run", "step"]
    assert len({commodity_of(name) for name in names}) == len(names)
    assert is_dearer("retraining", "replay")
    assert is_dearer("counterfactual", "8 steps")
    assert not is_dearer("run", "step")


@pytest.mark.parametrize(
    ("name", "reason"), [("step", "own valuation"), ("Größe", "small letters"), ("x" * 21, "up to 20")]
)
def test_a_run_whose_valuations_cannot_be_told_apart_is_refused_whole(
    staffed_file: Ledger, tmp_path: Path, name: str, reason: str
) -> None:
    with staffed_file.writing() as session:
        before = journal.head(session)
        with pytest.raises(OtherValuationError, match=reason):
            booked(session, tmp_path, with_beside(record(), **{name: OTHER}))
        assert journal.head(session) == before


# Added later


def test_a_retraining_is_added_on_its_own_improvement(staffed: Ledger, tmp_path: Path) -> None:
    other = retrained({"carol": [0.5], "alice": [0.25], "bob": [0.5]}, gap=[0.002]).save(tmp_path / "retrained")
    with staffed.writing() as session:
        run = booked(session, tmp_path)
        added = add(session, run[:8], other)
        assert (added.valuation.name, added.repeated) == ("retraining", False)
        assert held(session, "improvement", "gap")[0]["nat.retraining"] == 1252 * NAT // 1000
        assert held(session, "gap")[0]["nat.retraining"] == 2 * NAT // 1000
        assert add(session, run, other, "retraining").repeated
        assert add(session, run, other).valuation == added.valuation
        assert other_valuations.carried(session, run) == ["step", "counterfactual", "retraining"]
        assert audit(session).ok


def test_what_a_retraining_saves_as_a_record_is_a_valuation_of_the_run(staffed_file: Ledger, tmp_path: Path) -> None:
    """Every coalition, two seeds that begin elsewhere: whoever joins takes a quarter off the loss."""
    coalitions = np.array(list(product([False, True], repeat=3)))
    losses = np.array([4.0, 5.0])[None, :, None] - coalitions.sum(axis=1)[:, None, None] / 4
    at = "2026-03-05T12:00:00Z"
    values = RetrainingValues([*OWN], ["objective"], [1, 2], coalitions, losses, None, 0.0, "test", at, at)
    saved = values.as_record(rows=dict.fromkeys(OWN, 3)).save(tmp_path / "retrained")
    with staffed_file.writing() as session:
        run = booked(session, tmp_path)
        assert add(session, run, saved).valuation.name == "retraining"
        assert paid(settle(session, run, terms("retraining"))) == {"alice": 3334, "bob": 3333, "carol": 3333}
        assert audit(session).ok


def test_what_an_older_ledger_left_out_is_added_from_the_runs_own_record(
    staffed_file: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with staffed_file.writing() as session:
        monkeypatch.setattr("ledger.valuation.book_beside", lambda *_: [])
        run = booked(session, tmp_path)
        assert other_valuations.carried(session, run) == ["step"]
        assert audit(session).ok
        added = add(session, run, tmp_path / "run", "counterfactual")
        assert added.valuation.summary.record == run
        assert audit(session).ok
        with pytest.raises(NoValuationError, match="carries 'counterfactual', 'step'"):
            add(session, run, tmp_path / "run", "retraining")


REFUSALS: list[tuple[RunRecord, str | None, str]] = [
    (retrained({"alice": [0.5], "bob": [0.5]}), None, "lacks 'carol' of the run's contributors"),
    (retrained({**OTHER, "dan": [0.5]}), None, "has 'dan', which is none of the run's contributors"),
    (retrained(OTHER, tasks=["sport"]), None, "lacks 'objective' of the run's tasks"),
    (retrained(complete=False), None, "is partial"),
    (retrained(), "counterfactual", "'counterfactual' is entry"),
    (retrained(), "step", "'step' is the run's own valuation"),
    (retrained(), "Retraining!", "cannot be called 'Retraining!'"),
    (retrained(method={"name": "path", "every": 1}), None, "'step' is the run's own valuation"),
]


@pytest.mark.parametrize(("other", "name", "reason"), REFUSALS, ids=[reason for *_, reason in REFUSALS])
def test_another_game_and_a_taken_name_are_refused(
    staffed_file: Ledger, tmp_path: Path, other: RunRecord, name: str | None, reason: str
) -> None:
    with staffed_file.writing() as session:
        run = booked(session, tmp_path)
        before = journal.head(session)
        with pytest.raises(OtherValuationError, match=reason):
            add(session, run, other.save(tmp_path / "other"), name)
        assert journal.head(session) == before


def test_other_weights_are_refused_and_another_order_of_tasks_is_not(staffed_file: Ledger, tmp_path: Path) -> None:
    values = {name: [value[0], value[0]] for name, value in OWN.items()}
    with staffed_file.writing() as session:
        run = booked(session, tmp_path, record(values, **TWO_TASKS))
        with pytest.raises(OtherValuationError, match=r"weighs task 'sport' by 0.25, the run by 0.5"):
            add(session, run, retrained(values, **{**TWO_TASKS, "weights": (0.25, 0.75)}).save(tmp_path / "other"))
        swapped = retrained(values, **{**TWO_TASKS, "tasks": ("news", "sport")}).save(tmp_path / "swapped")
        add(session, run, swapped)
        assert audit(session).ok


def test_what_was_measured_on_other_held_out_records_is_refused(staffed_file: Ledger, tmp_path: Path) -> None:
    with staffed_file.writing() as session:
        registry.add_objective(session, "news", [Task("objective", ["held out"], ["held-out"], weight="1")])
        (task,) = registry.objective_tasks(session, "news")
        run = booked(session, tmp_path, record(objective={"objective": task.fingerprint}))
        with pytest.raises(OtherValuationError, match="measured on other held-out records of task 'objective'"):
            add(session, run, retrained(objective={"objective": "f" * 64}).save(tmp_path / "other"))
        add(session, run, retrained().save(tmp_path / "unsaid"))
        added = add(session, run, retrained(objective={"objective": task.fingerprint}).save(tmp_path / "same"), "same")
        assert added.valuation.summary.tasks[0].fingerprint == task.fingerprint
        assert audit(session).ok


# Settled by


def paid(settled: settlement.Settled) -> dict[str, int]:
    return {payout.contributor: payout.paid for payout in settled.outcome.payouts}


def test_a_settlement_pays_by_the_valuation_that_it_names(staffed: Ledger, tmp_path: Path) -> None:
    with staffed.writing() as session:
        run = booked(session, tmp_path)
        told = settle(session, run, terms("counterfactual"), dry_run=True)
        settled = settle(session, run, terms("counterfactual"))
        assert paid(settled) == paid(told) == {"alice": 2857, "bob": 1429, "carol": 5714}
        assert "by valuation counterfactual" in str(settled.terms)
        assert settlement.terms_of(session, settled.settlement) == settled.terms  # type: ignore[arg-type]
        assert settle(session, run, terms("counterfactual")).repeated
        for other in (None, "step"):
            with pytest.raises(SettledAlreadyError, match="by valuation counterfactual, not of its own"):
                settle(session, run, terms(other))
        assert audit(session).ok


def test_a_runs_own_valuation_by_its_name_is_the_default(staffed_file: Ledger, tmp_path: Path) -> None:
    with staffed_file.writing() as session:
        run = booked(session, tmp_path)
        assert settle(session, run, terms("step")).terms == terms()
        assert settle(session, run, terms()).repeated
        alone = booked(session, tmp_path, record(seed=2), "alone")
        assert settle(session, alone, terms("step")).terms == terms()


def test_a_valuation_that_a_run_does_not_carry_is_refused_with_those_it_does(
    staffed_file: Ledger, tmp_path: Path
) -> None:
    with staffed_file.writing() as session:
        run = booked(session, tmp_path)
        with pytest.raises(NoValuationError, match="no valuation 'retraining'; it carries 'step', 'counterfactual'"):
            settle(session, run, terms("retraining"))


def test_runs_settled_together_must_each_carry_the_valuation(staffed_file: Ledger, tmp_path: Path) -> None:
    """The own one of a run counts as such, where it is called so."""
    with staffed_file.writing() as session:
        one = booked(session, tmp_path)
        own = booked(session, tmp_path, retrained(OTHER, method={"name": "counterfactual"}), "own")
        lacking = booked(session, tmp_path, record(seed=3), "lacking")
        with pytest.raises(NoValuationError, match=f"run {lacking[:12]}"):
            settle(session, [one, lacking], terms("counterfactual"))
        settled = settle(session, [one, own], terms("counterfactual"))
        assert [payout.value for payout in settled.outcome.payouts] == [NAT // 2, NAT // 4, NAT]
        assert audit(session).ok


def test_one_task_is_settled_by_the_valuation_too(staffed_file: Ledger, tmp_path: Path) -> None:
    values = {"alice": [0.75, 0.25], "bob": [0.25, 0.75]}
    swapped = {"alice": [0.25, 0.75], "bob": [0.75, 0.25]}
    with staffed_file.writing() as session:
        run = booked(session, tmp_path, with_beside(record(values, **TWO_TASKS), run=swapped))
        assert paid(settle(session, run, terms("run", task="sport"))) == {"alice": 2500, "bob": 7500}
        assert paid(settle(session, run, terms(task="news"))) == {"alice": 2500, "bob": 7500}
        assert audit(session).ok


def test_the_gap_that_counts_is_that_of_the_valuation_paid_by(staffed_file: Ledger, tmp_path: Path) -> None:
    vague = {"alice": [0.5], "bob": [0.125], "carol": [0.0]}
    with staffed_file.writing() as session:
        run = booked(session, tmp_path, with_beside(record(), run=vague))
        with pytest.raises(GapToleranceError):
            settle(session, run, terms("run"))
        settle(session, run, terms())


def test_a_valuation_stays_while_it_is_paid_by_and_a_run_while_others_value_it(
    staffed_file: Ledger, tmp_path: Path
) -> None:
    with staffed_file.writing() as session:
        run = booked(session, tmp_path)
        other = other_valuations.others(session, run)[0].entry
        made = settle(session, run, terms("counterfactual")).settlement
        assert made is not None
        own = settlement.run_worths(session, settlement.scope_of(session, run))[0].entry
        for entry in (own, other):
            with pytest.raises(ReversalError, match="settled its run"):
                corrections.reverse_entry(session, entry, "wrong")
        settlement.reverse(session, run, "wrong")
        with pytest.raises(ReversalError, match="values its run too"):
            corrections.reverse_entry(session, own, "wrong")
        corrections.reverse_entry(session, other, "wrong")
        assert held(session, "value:carol")[0]["nat.counterfactual"] == 0
        with pytest.raises(ValuationReversedError):
            settle(session, run, terms("counterfactual"))
        with pytest.raises(ValuationReversedError):
            add(session, run, tmp_path / "run", "counterfactual")
        assert other_valuations.carried(session, run) == ["step"]
        corrections.reverse_entry(session, own, "wrong")
        assert audit(session).ok


def test_the_same_name_for_another_record_is_taken(staffed_file: Ledger, tmp_path: Path) -> None:
    with staffed_file.writing() as session:
        run = booked(session, tmp_path)
        add(session, run, retrained().save(tmp_path / "one"))
        with pytest.raises(ValuationTakenError, match="--as"):
            add(session, run, retrained(seed=2).save(tmp_path / "two"))
        assert add(session, run, retrained(seed=2).save(tmp_path / "two"), "retraining-2").valuation.name


VALUES = st.floats(-1, 1, allow_nan=False).map(lambda value: round(value, 4))
PAIRS = st.tuples(VALUES, VALUES)
HOMES = [
    "buyer",
    "escrow",
    "fee",
    "house",
    "gap",
    *(f"{kind}:{who}" for kind in ("payable", "receivable") for who in OWN),
]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    own=PAIRS,
    other=PAIRS,
    improvement=st.floats(0.1, 2).map(lambda value: round(value, 4)),
    mode=st.sampled_from(["pool", "rate"]),
    negative=st.sampled_from(["floor", "carry"]),
    fee=st.integers(0, 10_000),
)
def test_whatever_is_paid_by_every_cent_is_somewhere_and_settling_anew_ends_as_settling_at_once(
    staffed_file: Ledger, tmp_path: Path, own: Any, other: Any, improvement: float, mode: Any, negative: Any, fee: int
) -> None:
    one, two = ({"alice": [a], "bob": [b], "carol": [improvement - a - b]} for a, b in (own, other))
    made = with_beside(record(one, rows=dict.fromkeys(OWN, 3)), counterfactual=two)
    by_own = Terms(mode, Amount.parse("1000.00 EUR"), negative, fee_basis_points=fee)
    by_other = replace(by_own, by="counterfactual")
    with staffed_file.engine.connect() as connection, Session(connection) as session:
        session.info.update(clock=staffed_file.clock, folder=staffed_file.folder)
        run = booked(session, tmp_path, made, made.identity)
        with session.begin_nested() as undone:
            at_once = settle(session, run, by_other).outcome
            money = _money(session)
            undone.rollback()
        settle(session, run, by_own)
        settlement.reverse(session, run, "by another")
        assert settle(session, run, by_other).outcome == at_once
        assert _money(session) == money
        given = sum(payout.share for payout in at_once.payouts) + at_once.priced_house + at_once.gap + at_once.fee
        assert given == at_once.funded
        assert sum(money.values()) == 0


def _money(session: Session) -> dict[str, int]:
    """What each account holds, credits positive."""
    debits = ("buyer", "receivable")
    return {
        home: balances.balances(session, home).get("EUR", 0) * (-1 if home.startswith(debits) else 1) for home in HOMES
    }
