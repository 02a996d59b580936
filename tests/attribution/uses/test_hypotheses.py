from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom

from attribution.uses.errors import UseError
from attribution.uses.explain import explain
from attribution.uses.hypotheses import hypotheses, tail


@given(st.integers(1, 8), st.data())
def test_the_tail_is_the_share_of_all_draws_with_so_many_members(total: int, data: st.DataObject) -> None:
    size, drawn = data.draw(st.integers(0, total)), data.draw(st.integers(0, total))
    found = data.draw(st.integers(0, min(size, drawn)))
    draws = [sum(member < size for member in draw) for draw in combinations(range(total), drawn)]
    assert tail(found, drawn, size, total) == Fraction(sum(count >= found for count in draws), len(draws))


@pytest.mark.parametrize("numbers", [(7, 20, 120, 4000), (20, 20, 563, 4500), (1, 50, 3, 1_000_000)])
def test_the_tail_is_scipys(numbers: tuple[int, int, int, int]) -> None:
    found, drawn, size, total = numbers
    assert float(tail(*numbers)) == pytest.approx(hypergeom.sf(found - 1, total, size, drawn), rel=1e-9)


def test_what_cannot_be_drawn_is_refused() -> None:
    for numbers in ((3, 2, 5, 9), (3, 5, 2, 9), (1, 10, 2, 9), (-1, 2, 2, 9)):
        with pytest.raises(UseError):
            tail(*numbers)


def test_probabilities_are_corrected_as_holm_has_it_for_all_groups_found_or_not() -> None:
    owners = ["ann"] * 4 + ["bob"] * 6 + ["cid"] * 10
    drawn = {"raised": {"who": owners[:3]}, "lowered": {"who": ["bob", "cid"]}}
    found = hypotheses(drawn, {"who": Counter(owners)})
    assert found[0].group == "ann"
    raw = [one.probability for one in found]
    assert raw == sorted(raw)
    tests = 6  # three groups at two ends
    expected, least = [], 0.0
    for rank, probability in enumerate(raw):
        least = max(least, min(1.0, probability * (tests - rank)))
        expected.append(least)
    assert [one.corrected for one in found] == pytest.approx(expected)
    assert found[0].probability == float(Fraction(4, 1140))  # C(4, 3) of C(20, 3)
    assert "3 of the 3 that raised the loss most are of who ann" in str(found[0])


def test_by_chance_alone_one_in_twenty_explanations_names_somebody_at_most() -> None:
    draw, named = np.random.default_rng(0), 0
    owners = [str(number % 8) for number in range(400)]
    for _ in range(400):
        found = explain(draw.standard_normal(400), {"contributor": owners})
        named += any(one.corrected <= 0.05 for one in found.hypotheses)
    assert named / 400 < 0.05 + 2 * (0.05 * 0.95 / 400) ** 0.5
