from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attribution.errors import RecordError
from attribution.record import SCORES
from attribution.scores import ScoreWriter
from ledger import balances, journal, registry, valuation
from ledger.checks.runs import RECORD, run_faults
from ledger.database import Ledger
from ledger.errors import (
    AmbiguousRunError,
    AxiomError,
    ForeignDataError,
    LedgerError,
    ManifestError,
    PartialRunError,
    RunReversedError,
    UnknownContributorError,
    UnknownObjectiveError,
    UnknownRunError,
)
from ledger.lines import imbalance
from ledger.models import Run
from ledger.record_paths import record_path
from ledger.registry import Task
from ledger.statement import statement
from ledger.valuation import Booked, book_run
from ledger.valuation_entry import lines
from ledger.valuing import value_record
from tests.ledger.records import synthetic_record, with_all_to

Book = Callable[..., Booked]
NAT = 10**12
SMALL = st.floats(-4, 4, allow_nan=False).map(lambda value: round(value, 15))


def test_a_run_becomes_a_balanced_entry_in_piconats(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        booked = book(session, {"alice": 0.5, "bob": -0.125, "carol": 0.0}, house=[0.25], gap=[-0.0625])
        lines = {(line.account, line.side): line.amount for line in journal.lines_of(session, booked.run.entry)}
    assert lines == {
        ("improvement", "debit"): 562_500_000_000,
        ("value:alice", "credit"): 500_000_000_000,
        ("value:bob", "debit"): 125_000_000_000,
        ("house", "credit"): 250_000_000_000,
        ("gap", "debit"): 62_500_000_000,
    }
    assert (booked.run.improvement, booked.run.house, booked.run.gap) == (
        562_500_000_000,
        250_000_000_000,
        -62_500_000_000,
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(SMALL, SMALL), min_size=3, max_size=3),
    st.tuples(SMALL, SMALL),
    SMALL,
    st.floats(0, 1),
    st.booleans(),
)
def test_improvement_is_always_values_plus_house_plus_gap(
    staffed: Ledger,
    values: list[tuple[float, float]],
    house: tuple[float, float],
    gap: float,
    weight: float,
    telescopes: bool,
) -> None:
    record = synthetic_record(
        dict(zip(("alice", "bob", "carol"), values, strict=True)),
        tasks=("sport", "business"),
        weights=(weight, 1 - weight),
        house=house,
        gap=(gap, 0.0),
        telescopes=telescopes,
    )
    with staffed.reading() as session:
        found = value_record(session, record)
    assert abs(found.improvement - float(record.improvement @ record.weights) * NAT) <= 100
    assert found.improvement == sum(part.value for part in found.contributors) + found.house + found.gap
    assert imbalance(lines(found, found.contributors)) == {}
    for k, task in enumerate(found.tasks):
        assert task.improvement == sum(part.task_values[k] for part in found.contributors) + task.house + task.gap
    weighted = record.values @ record.weights
    for part, value in zip(found.contributors, weighted, strict=True):
        assert abs(part.value - value * NAT) <= 1 + 1e-12 * NAT


def test_a_run_on_a_validation_batch_each_step_is_worth_the_sum_of_its_steps(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        booked = book(session, {"alice": 0.5, "bob": 0.25}, house=[0.125], telescopes=False)
    assert booked.valuation.improvement == 875_000_000_000
    assert booked.valuation.gap == 0
    assert "own validation batch" in "".join(finding.detail for finding in booked.findings)


def test_a_record_with_all_that_the_books_do_not_need_is_booked_by_its_own_values(
    staffed: Ledger, tmp_path: Path
) -> None:
    with ScoreWriter(tmp_path / "scores.parquet", ["alice", "bob"], ["objective"]) as scores:
        scores.add(0, ["a", "b"], [0, 1], [[0.5], [0.25]])
    plain = synthetic_record({"alice": [0.5], "bob": [0.25]}, length=[9, 9, 9, 3])
    path = replace(with_all_to(plain, "bob", every="run"), scores=scores.path).save(tmp_path / "run")
    with staffed.writing() as session:
        found = book_run(session, path).valuation
        assert [(part.contributor, part.value) for part in found.contributors] == [
            ("alice", NAT // 2),
            ("bob", NAT // 4),
        ]
        assert list(run_faults(session)) == []
        (path / SCORES).unlink()
        (fault,) = run_faults(session)
    assert (fault.check, SCORES in fault.detail) == (RECORD, True)


def test_sampled_values_are_booked_with_their_standard_errors(staffed: Ledger, tmp_path: Path) -> None:
    options: dict[str, Any] = {"tasks": ["sport", "business"], "house": [0, 0], "gap": [0, 0], "weights": [0.25, 0.75]}
    errors = {"alice": [0.5, 0.25], "bob": [0.0, 0.0]}
    record = synthetic_record({"alice": [1, 1], "bob": [1, 0]}, standard_errors=errors, method="exact", **options)
    with staffed.writing() as session:
        booked = book_run(session, record.save(tmp_path / "run"))
        assert [part.standard_error for part in booked.valuation.contributors] == [312_500_000_000, 0]
        assert list(run_faults(session)) == []
        (run,) = statement(session, "alice").runs
    assert run.standard_error == 312_500_000_000


def test_the_same_record_again_returns_the_first_entry(staffed: Ledger, tmp_path: Path) -> None:
    path = synthetic_record({"alice": [0.5]}).save(tmp_path / "run")
    with staffed.writing() as session:
        first = book_run(session, path)
        again = book_run(session, path)
        assert (first.repeated, again.repeated) == (False, True)
        assert (again.run.entry, again.valuation) == (first.run.entry, first.valuation)


def test_a_partial_run_is_booked_only_when_asked(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        with pytest.raises(PartialRunError, match="interrupted"):
            book(session, {"alice": 0.5}, complete=False)
        assert book(session, {"alice": 0.5}, complete=False, partial=True).run.complete is False


def test_unknown_contributors_are_all_named(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session, pytest.raises(UnknownContributorError, match="'dave', 'eve'"):
        book(session, {"alice": 0.5, "dave": 0.1, "eve": 0.1})


def test_a_changed_record_is_not_booked(staffed: Ledger, tmp_path: Path) -> None:
    path = synthetic_record({"alice": [0.5]}).save(tmp_path / "run")
    table = path / "values.parquet"
    table.write_bytes(table.read_bytes()[:-1] + b"x")
    with staffed.writing() as session, pytest.raises(RecordError, match=r"values\.parquet"):
        book_run(session, path)


def test_a_record_that_fails_an_axiom_is_not_booked(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session, pytest.raises(AxiomError, match="null player"):
        book(session, {"alice": 0.5, "bob": 0.25}, rows={"bob": 0})


def test_data_must_be_registered_for_the_contributor_it_is_credited_to(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        (alices,) = registry.datasets(session, "alice")
        with pytest.raises(ForeignDataError, match="registered for 'alice'"):
            book(session, {"bob": 0.5}, data={"bob": [alices.fingerprint]})
        with pytest.raises(ForeignDataError, match="not registered"):
            book(session, {"bob": 0.5}, data={"bob": ["0" * 64]})
        booked = book(session, {"alice": 0.5}, data={"alice": [alices.fingerprint]})
        assert booked.valuation.contributors[0].datasets == [alices.fingerprint]


@pytest.mark.parametrize(
    ("details", "key"),
    [
        ({"began_at": None}, "began_at"),
        ({"began_at": "2026-03-01T12:00:00"}, "began_at"),
        ({"ended_at": "late"}, "ended_at"),
        ({"data": ["x"]}, "data"),
        ({"data": {"dave": []}}, "data"),
        ({"data": {"alice": "x"}}, "data"),
        ({"objective": {"other": "x"}}, "objective"),
        ({"objective": {"objective": 5}}, "objective"),
    ],
)
def test_a_manifest_that_the_books_cannot_use_is_refused_by_key(
    staffed: Ledger, book: Book, details: dict[str, Any], key: str
) -> None:
    with staffed.writing() as session, pytest.raises(ManifestError) as caught:
        book(session, {"alice": 0.5}, **details)
    assert caught.value.key == key


def test_a_run_on_registered_held_out_text_is_booked_under_its_objective(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        tasks = [Task("sport", ["s"], [], weight="1"), Task("business", ["b"], [], weight="3")]
        made = registry.add_objective(session, "news", tasks)
        registry.add_objective(session, "also-news", tasks)
        held_out = {task.task: task.fingerprint for task in made.tasks}
        options: dict[str, Any] = {
            "tasks": ["sport", "business"],
            "house": [0, 0],
            "gap": [0, 0],
            "objective": held_out,
        }
        booked = book(session, {"alice": [0.5, 0.25]}, weights=[0.25, 0.75], **options)
        assert booked.run.objective == "news"
        with pytest.raises(UnknownObjectiveError):
            book(session, {"alice": [0.5, 0.25]}, weights=[0.5, 0.5], **options)
        options["objective"] = {"sport": "0" * 64, "business": held_out["business"]}
        with pytest.raises(UnknownObjectiveError):
            book(session, {"alice": [0.5, 0.25]}, weights=[0.25, 0.75], **options)


def test_a_reversed_run_has_no_value(staffed: Ledger, tmp_path: Path) -> None:
    path = synthetic_record({"alice": [0.5]}).save(tmp_path / "run")
    with staffed.writing() as session:
        journal.reverse(session, book_run(session, path).run.entry, "wrong data")
        assert balances.balances(session, "value:alice") == {"nat": 0}
        with pytest.raises(RunReversedError):
            book_run(session, path)


def test_a_record_beside_the_books_is_found_after_both_were_moved(
    staffed_file: Ledger, tmp_path: Path, book: Book
) -> None:
    with staffed_file.writing() as session:
        run = book(session, {"alice": 0.5}).run
        assert run.path == "run-1"
        assert record_path(session, run) == tmp_path / "run-1"


def test_a_record_elsewhere_is_kept_by_its_full_path(staffed: Ledger, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = synthetic_record({"alice": [0.5]}).save(tmp_path_factory.mktemp("elsewhere") / "run")
    with staffed.writing() as session:
        assert book_run(session, path).run.path == str(path)


def test_a_run_is_found_by_the_beginning_of_its_identity(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        run = book(session, {"alice": 0.5}).run
        assert valuation.run(session, run.id[:8]).id == run.id
        for wrong in ("zzzz", "", "%%%%", run.id[:3]):
            with pytest.raises(UnknownRunError):
                valuation.run(session, wrong)
        twin = run.model_dump() | {"id": run.id[:60] + "0000", "entry": 1}
        session.add(Run(**twin))
        session.flush()
        with pytest.raises(AmbiguousRunError):
            valuation.run(session, run.id[:8])
        session.rollback()


def test_a_refused_run_leaves_the_journal_as_it_was(staffed: Ledger, book: Book) -> None:
    with staffed.reading() as session:
        before = journal.head(session)
    with pytest.raises(LedgerError), staffed.writing() as session:
        book(session, {"dave": 0.5})
    with staffed.reading() as session:
        assert journal.head(session) == before
