from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from attribution.record import RunRecord
from ledger.axioms import check_axioms
from tests.ledger.records import synthetic_record, with_all_to

TASKS: dict[str, Any] = {
    "tasks": ("sport", "business"),
    "weights": (0.25, 0.75),
    "house": (0.01, -0.02),
    "gap": (1e-4, 0.0),
}
VALUES = {"alice": [0.5, 0.1], "bob": [-0.1, 0.2], "idle": [0.0, 0.0]}


def record(**options: Any) -> RunRecord:
    return synthetic_record(VALUES, **TASKS, **options)


def changed(name: str, at: tuple[int, ...], by: float, **options: Any) -> RunRecord:
    """The record with one number of one step changed."""
    original = record(**options)
    array = getattr(original.steps, name).copy()
    array[at] += by
    return replace(original, steps=replace(original.steps, **{name: array}))


def failures(checked: RunRecord, **options: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for finding in check_axioms(checked, **options):
        if not finding.ok:
            found[finding.axiom] = f"{found.get(finding.axiom, '')} {finding.detail}"
    return found


def found_by(axiom: str, checked: RunRecord, **options: Any) -> str:
    """What the findings of an axiom that holds say."""
    found = [finding for finding in check_axioms(checked, **options) if finding.axiom == axiom]
    assert all(finding.ok for finding in found)
    return "; ".join(finding.detail for finding in found)


def test_a_sound_record_satisfies_every_axiom() -> None:
    findings = check_axioms(record())
    assert all(finding.ok for finding in findings)
    assert {finding.axiom for finding in findings} == {"efficiency", "null player", "symmetry", "additivity"}


@pytest.mark.parametrize(
    ("name", "at"),
    [("values", (2, 0, 1)), ("house", (2, 0)), ("gap", (2, 1)), ("loss_before", (2, 0)), ("loss_after", (2, 1))],
)
def test_a_nat_that_is_not_accounted_for_is_found_with_its_step(name: str, at: tuple[int, ...]) -> None:
    found = failures(changed(name, at, 1e-4))
    assert "step 2" in found["efficiency"]


def test_losses_that_do_not_follow_each_other_are_found() -> None:
    original = record()
    before, after = original.steps.loss_before.copy(), original.steps.loss_after.copy()
    before[2:] += 1.0
    after[2:] += 1.0
    found = failures(replace(original, steps=replace(original.steps, loss_before=before, loss_after=after)))
    assert "step 2" in found["efficiency"]


def test_a_value_without_a_row_is_found() -> None:
    assert "'idle'" in failures(changed("values", (1, 2, 0), 1e-12))["null player"]


def test_a_value_before_the_first_row_is_found() -> None:
    original = record()
    rows = original.steps.rows.copy()
    rows[:2, 0] = 0
    assert "'alice'" in failures(replace(original, steps=replace(original.steps, rows=rows)))["null player"]


@pytest.mark.parametrize(
    ("method", "most"),
    [
        ({"name": "path", "every": "run"}, 0.0),
        ({"name": "first_order"}, 0.0),
        ({"name": "second_order"}, 0.0),
        ("path", 0.0),
        (None, 0.0),
        ({"name": "exact"}, 8e-6),  # a millionth of the loss before: the rounding of two losses
        ({"name": "retraining"}, 8e-6),
    ],
)
def test_who_has_supplied_no_row_has_no_value_beyond_what_the_method_cannot_help(method: Any, most: float) -> None:
    for value, fails in ((most, False), (-most, False), (most * 1.01 + 1e-12, True)):
        found = failures(changed("values", (1, 2, 0), value, method=method))
        assert ("null player" in found) is fails, value


def test_a_method_that_does_not_claim_the_null_player_is_not_held_to_it() -> None:
    other = changed("values", (1, 2, 0), 1e-12, method={"name": "equal shares"})
    assert "null player" not in failures(other)
    assert "'equal shares': not checked" in found_by("null player", other)


def test_a_segment_of_many_steps_in_which_a_contributor_first_comes_may_have_a_value() -> None:
    original = record(length=[5, 5, 5, 2])
    rows = original.steps.rows.copy()
    rows[0, 0] = 0
    late = replace(original, steps=replace(original.steps, rows=rows))
    assert "steps 0 to 4: 'alice'" in failures(late)["null player"]
    values, gap = original.steps.values.copy(), original.steps.gap.copy()
    gap[0] += values[0, 0]
    values[0, 0] = 0
    assert failures(replace(late, steps=replace(late.steps, values=values, gap=gap))) == {}


@pytest.mark.parametrize(
    ("length", "where"),
    [(None, "step 2: "), ([5, 5, 5, 2], "steps 10 to 14: "), ([1, 1, 0, 1], "the edit before step 2: ")],
)
def test_a_finding_names_the_optimizer_steps_and_not_the_row(length: list[int] | None, where: str) -> None:
    found = failures(changed("gap", (2, 0), 1e-4, length=length))["efficiency"]
    assert found.startswith(f" {where}")
    assert ("every segment's" in found) is (length == [5, 5, 5, 2])


def test_losses_of_a_validation_batch_each_step_need_not_follow_each_other() -> None:
    batches = record(telescopes=False)
    assert failures(batches) == {}
    assert "the run's improvement is the sum over steps of loss before minus loss after" in found_by(
        "efficiency", batches
    )
    assert "step 1" in failures(replace(batches, telescopes=True))["efficiency"]
    assert "step 2" in failures(changed("loss_after", (2, 1), 1e-4, telescopes=False))["efficiency"]


def test_valuations_side_by_side_are_held_to_the_axioms_too() -> None:
    assert failures(with_all_to(record(), "bob")) == {}
    assert "by valuation 'other' too" in found_by("efficiency", with_all_to(record(), "bob"))
    assert "by valuation 'other', 'idle'" in failures(with_all_to(record(), "idle"))["null player"]
    assert failures(with_all_to(record(), "idle", method={"name": "equal shares"})) == {}
    broken = with_all_to(record(), "bob")
    broken.beside["other"].__dict__["gap"] = broken.beside["other"].gap + 1e-4
    assert "by valuation 'other'" in failures(broken)["efficiency"]


def test_contributors_said_to_be_identical_must_have_equal_values() -> None:
    twins = synthetic_record({"one": [0.25], "two": [0.25], "three": [0.5]})
    assert failures(twins, identical=[("one", "two")]) == {}
    assert "off by" in failures(twins, identical=[("one", "three")])["symmetry"]
    assert "not a contributor" in failures(twins, identical=[("one", "nobody")])["symmetry"]


def test_contributors_said_to_be_identical_must_have_supplied_the_same_rows() -> None:
    unlike = synthetic_record({"one": [0.25], "two": [0.25]}, rows={"one": 3, "two": 4})
    assert "different numbers of rows" in failures(unlike, identical=[("one", "two")])["symmetry"]


def test_sampled_values_of_identical_contributors_may_differ_by_their_standard_errors() -> None:
    values, errors = {"one": [0.25], "two": [0.26], "three": [0.5]}, {"one": [0.001], "two": [0.002], "three": [0.0]}
    sampled = synthetic_record(values, standard_errors=errors, method={"name": "exact"})
    assert failures(sampled, identical=[("one", "two")]) == {}
    assert "4 standard errors" in failures(sampled, identical=[("one", "three")])["symmetry"]
    assert "symmetry" in failures(synthetic_record(values, method={"name": "exact"}), identical=[("one", "two")])


def test_values_from_losses_are_equal_to_the_rounding_of_losses() -> None:
    alike = {"one": [0.25], "two": [0.25 + 1e-6]}
    assert failures(synthetic_record(alike, method="exact"), identical=[("one", "two")]) == {}
    assert "symmetry" in failures(synthetic_record(alike, method="path"), identical=[("one", "two")])


def test_retraining_of_identical_contributors_is_not_compared() -> None:
    luck = synthetic_record({"one": [0.25], "two": [0.3]}, method={"name": "retraining"})
    assert "not checked" in found_by("symmetry", luck, identical=[("one", "two")])


def test_unchecked_symmetry_is_said_to_be_unchecked() -> None:
    assert "not checked" in found_by("symmetry", record())


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_found(number: float) -> None:
    original = record()
    values = original.steps.values.copy()
    values[3, 0, 0] = number
    assert "step 3" in failures(replace(original, steps=replace(original.steps, values=values)))["efficiency"]


def test_totals_that_are_not_the_sums_are_found() -> None:
    original = record()
    original.__dict__["values"] = original.values + 1e-3  # what the manifest will state
    assert "values" in failures(original)["additivity"]


def test_a_record_without_a_step_is_not_valued() -> None:
    empty = synthetic_record({"alice": [0.0]}, steps=1)
    none = {
        name: getattr(empty.steps, name)[:0]
        for name in ("loss_before", "loss_after", "values", "house", "gap", "nodes", "rows", "length")
    }
    assert "no step" in failures(replace(empty, steps=replace(empty.steps, **none)))["efficiency"]
