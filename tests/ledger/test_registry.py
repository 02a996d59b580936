from fractions import Fraction

import pytest
from sqlmodel import Session

from ledger import journal, registry
from ledger.database import Ledger
from ledger.errors import (
    AssetError,
    ConsentError,
    DuplicateDatasetError,
    DuplicateError,
    EmptyDatasetError,
    IdentifierError,
    InstantError,
    LicenceError,
    UnknownContributorError,
    UnknownDatasetError,
    UnknownObjectiveError,
    WeightError,
)
from ledger.money import Asset
from ledger.registry import Task


def register(session: Session, who: str, records: list[str], **changed: object) -> registry.RegisteredDataset:
    options = {"name": "texts", "licence": "MIT", "consent_given_at": "2026-01-01", **changed}
    return registry.register_dataset(session, who, records, **options)  # type: ignore[arg-type]


def test_a_contributor_is_added_once(books: Ledger) -> None:
    with books.writing() as session:
        first = registry.add_contributor(session, "alice", "Alice Ltd")
        assert registry.add_contributor(session, "alice", "Alice Ltd").entry == first.entry
        with pytest.raises(DuplicateError, match="alice"):
            registry.add_contributor(session, "alice", "Somebody else")


@pytest.mark.parametrize("name", ["", "Alice", "a b", "-a", "a-", "a--b", "é", "a:b", "a" * 65, "a/b"])
def test_an_id_that_is_no_slug_is_refused(books: Ledger, name: str) -> None:
    with books.writing() as session, pytest.raises(IdentifierError):
        registry.add_contributor(session, name)


def test_a_dataset_is_registered_with_its_counts_and_licence(books: Ledger) -> None:
    with books.writing() as session:
        registry.add_contributor(session, "alice")
        found = register(session, "alice", ["one", "two", "two"], licence="mit", paths=["a.jsonl"], text_field="body")
    dataset = found.dataset
    assert (dataset.record_count, dataset.byte_count, dataset.licence) == (3, 9, "MIT")
    assert (dataset.paths, dataset.text_field, dataset.encoding) == (["a.jsonl"], "body", "utf-8")
    assert found.overlaps == []


def test_an_exact_duplicate_is_refused_and_the_first_is_named(staffed: Ledger) -> None:
    with staffed.writing() as session, pytest.raises(DuplicateDatasetError) as caught:
        register(session, "bob", ["alice two \r\n", "alice one"])
    assert (caught.value.contributor, caught.value.name) == ("alice", "alice's texts")


def test_shared_records_are_reported_for_each_other_dataset(staffed: Ledger) -> None:
    with staffed.writing() as session:
        found = register(session, "carol", ["alice one", "alice two", "bob one", "new", "new"])
        assert [(overlap.contributor, overlap.shared_records) for overlap in found.overlaps] == [
            ("alice", 2),
            ("bob", 1),
        ]
        copied = register(session, "carol", ["new", "new", "new"])
        assert [(overlap.name, overlap.shared_records) for overlap in copied.overlaps] == [("texts", 2)]
        once = register(session, "carol", ["new", "newer"])
        assert [overlap.shared_records for overlap in once.overlaps] == [1, 1]


def test_overlaps_are_found_beyond_one_batch(books: Ledger) -> None:
    with books.writing() as session:
        registry.add_contributor(session, "alice")
        register(session, "alice", [f"record {number}" for number in range(1234)])
        found = register(session, "alice", [f"record {number}" for number in range(34, 2000)])
    assert found.overlaps[0].shared_records == 1200


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"licence": "whatever"}, LicenceError),
        ({"consent_given_at": "soon"}, InstantError),
    ],
)
def test_a_refused_dataset_leaves_nothing(staffed: Ledger, changed: dict[str, str], error: type[Exception]) -> None:
    with staffed.reading() as session:
        before = journal.head(session)
    with pytest.raises(error), staffed.writing() as session:
        register(session, "alice", ["fresh"], **changed)
    with staffed.reading() as session:
        assert journal.head(session) == before


def test_a_dataset_needs_a_known_contributor_and_a_record(staffed: Ledger) -> None:
    with staffed.writing() as session:
        with pytest.raises(UnknownContributorError, match="'dave'"):
            register(session, "dave", ["x"])
        with pytest.raises(EmptyDatasetError):
            register(session, "alice", [" ", "\n"])


def test_datasets_are_found_by_the_beginning_of_their_fingerprint(staffed: Ledger) -> None:
    with staffed.reading() as session:
        (dataset,) = registry.datasets(session, "alice")
        assert registry.dataset(session, dataset.fingerprint[:12]) == dataset
        for wrong in ("0000000000", "xyz!", "abc", "%"):
            with pytest.raises(UnknownDatasetError):
                registry.dataset(session, wrong)


def test_consent_holds_from_its_date_until_it_is_withdrawn(staffed: Ledger) -> None:
    with staffed.writing() as session:
        print_ = registry.datasets(session, "alice")[0].fingerprint
        registry.withdraw_consent(session, print_, "2026-06-01")
        registry.give_consent(session, print_, "2026-08-01")

        def held(day: str) -> bool:
            return registry.had_consent(session, print_, f"{day}T00:00:00.000000Z")

        assert [held(day) for day in ("2025-12-31", "2026-01-01", "2026-05-31", "2026-06-01", "2026-08-01")] == [
            False,
            True,
            True,
            False,
            True,
        ]


def test_consent_as_known_before_an_entry_leaves_out_what_came_later(staffed: Ledger) -> None:
    with staffed.writing() as session:
        print_ = registry.datasets(session, "alice")[0].fingerprint
        withdrawal = registry.withdraw_consent(session, print_, "2026-02-01")
        at = "2026-03-01T00:00:00.000000Z"
        assert not registry.had_consent(session, print_, at)
        assert registry.had_consent(session, print_, at, before=withdrawal.entry)


def test_consent_changes_only_forward_and_only_to_the_other_state(staffed: Ledger) -> None:
    with staffed.writing() as session:
        print_ = registry.datasets(session, "alice")[0].fingerprint
        with pytest.raises(ConsentError, match="given already"):
            registry.give_consent(session, print_, "2026-02-01")
        with pytest.raises(ConsentError, match="after"):
            registry.withdraw_consent(session, print_, "2025-02-01")
        registry.withdraw_consent(session, print_, "2026-02-01")
        with pytest.raises(ConsentError, match="cannot be withdrawn"):
            registry.withdraw_consent(session, print_, "2026-03-01")


def test_a_dataset_may_be_registered_without_consent(staffed: Ledger) -> None:
    with staffed.writing() as session:
        dataset = register(session, "alice", ["later"], consent_given_at=None).dataset
        assert not registry.had_consent(session, dataset.fingerprint, "2026-12-01T00:00:00.000000Z")


def test_an_objective_keeps_its_tasks_in_order_with_exact_weights(staffed: Ledger) -> None:
    with staffed.writing() as session:
        tasks = [Task("sport", ["a"], ["sport"], weight="2"), Task("business", ["b"], ["business"], weight="1.0")]
        made = registry.add_objective(session, "news", tasks)
        stored = registry.objective_tasks(session, "news")
    assert [task.task for task in stored] == ["sport", "business"]
    assert registry.task_weights(stored) == {"sport": Fraction(2, 3), "business": Fraction(1, 3)}
    assert made.leaks == {}


def test_held_out_records_that_a_contributor_supplied_are_reported(staffed: Ledger) -> None:
    with staffed.writing() as session:
        made = registry.add_objective(session, "news", [Task("sport", ["bob one", "fresh"], [])])
    assert [(leak.contributor, leak.shared_records) for leak in made.leaks["sport"]] == [("bob", 1)]


@pytest.mark.parametrize(
    ("tasks", "error"),
    [
        ([], UnknownObjectiveError),
        ([Task("sport", ["a"], [], weight="0")], WeightError),
        ([Task("sport", ["a"], [], weight="-1")], WeightError),
        ([Task("sport", ["a"], [], weight="1e3")], WeightError),
        ([Task("sport", ["a"], []), Task("sport", ["b"], [])], DuplicateError),
        ([Task("sport", [" "], [])], EmptyDatasetError),
        ([Task("Sport!", ["a"], [])], IdentifierError),
    ],
)
def test_an_objective_that_makes_no_sense_is_refused(books: Ledger, tasks: list[Task], error: type[Exception]) -> None:
    with pytest.raises(error), books.writing() as session:
        registry.add_objective(session, "news", tasks)
    with books.reading() as session:
        assert registry.objectives(session) == []


def test_an_objective_does_not_change(books: Ledger) -> None:
    with books.writing() as session:
        registry.add_objective(session, "news", [Task("sport", ["a"], [])])
        with pytest.raises(DuplicateError):
            registry.add_objective(session, "news", [Task("sport", ["b"], [])])


def test_a_token_keeps_the_exponent_of_its_first_use(books: Ledger) -> None:
    with books.writing() as session:
        registry.use_asset(session, Asset("TOK", 6))
        assert registry.use_asset(session, Asset("TOK", 6)).exponent == 6
        with pytest.raises(AssetError, match="6 decimals"):
            registry.use_asset(session, Asset("TOK", 18))


def test_every_registered_fact_is_an_entry(staffed: Ledger) -> None:
    with staffed.reading() as session:
        dataset = registry.datasets(session, "bob")[0]
        entry = journal.entry(session, dataset.entry)
        assert (entry.kind, entry.subject) == ("dataset", dataset.fingerprint)
        assert registry.recorded_at(session, dataset) == entry.recorded_at
