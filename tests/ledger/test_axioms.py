from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from attribution.record import RunRecord
from ledger.axioms import check_axioms
from tests.ledger.records import synthetic_record

TASKS = {"tasks": ("sport", "business"), "weights": (0.25, 0.75), "house": (0.01, -0.02), "gap": (1e-4, 0.0)}
VALUES = {"alice": [0.5, 0.1], "bob": [-0.1, 0.2], "idle": [0.0, 0.0]}


def record() -> RunRecord:
    return synthetic_record(VALUES, **TASKS)  # type: ignore[arg-type]


def changed(name: str, at: tuple[int, ...], by: float) -> RunRecord:
    """The record with one number of one step changed."""
    original = record()
    array = getattr(original.steps, name).copy()
    array[at] += by
    return replace(original, steps=replace(original.steps, **{name: array}))


def failures(checked: RunRecord, **options: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for finding in check_axioms(checked, **options):
        if not finding.ok:
            found[finding.axiom] = f"{found.get(finding.axiom, '')} {finding.detail}"
    return found


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


def test_a_method_that_does_not_claim_the_null_player_is_not_held_to_it() -> None:
    sampled = replace(changed("values", (1, 2, 0), 1e-12), details={"method": {"name": "sampled"}})
    assert "null player" not in failures(sampled)


def test_contributors_said_to_be_identical_must_have_equal_values() -> None:
    twins = synthetic_record({"one": [0.25], "two": [0.25], "three": [0.5]})
    assert failures(twins, identical=[("one", "two")]) == {}
    assert "off by" in failures(twins, identical=[("one", "three")])["symmetry"]
    assert "not a contributor" in failures(twins, identical=[("one", "nobody")])["symmetry"]


def test_contributors_said_to_be_identical_must_have_supplied_the_same_rows() -> None:
    unlike = synthetic_record({"one": [0.25], "two": [0.25]}, rows={"one": 3, "two": 4})
    assert "different numbers of rows" in failures(unlike, identical=[("one", "two")])["symmetry"]


def test_unchecked_symmetry_is_said_to_be_unchecked() -> None:
    (symmetry,) = [finding for finding in check_axioms(record()) if finding.axiom == "symmetry"]
    assert "not checked" in symmetry.detail


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
