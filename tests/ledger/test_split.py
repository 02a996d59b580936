import random
from fractions import Fraction

import pytest
from apportionment.methods import TiesException
from apportionment.methods import largest_remainder as hamilton
from hypothesis import assume, given
from hypothesis import strategies as st

from ledger.split import cut, largest_remainder, proportional

NAMES = st.text("abcdefgh", min_size=1, max_size=4)
WEIGHTS = st.dictionaries(NAMES, st.integers(0, 2**256 - 1), min_size=1).filter(lambda weights: any(weights.values()))


@given(st.integers(0, 2**256 - 1), WEIGHTS)
def test_the_parts_sum_to_the_whole_exactly(total: int, weights: dict[str, int]) -> None:
    assert sum(proportional(total, weights).values()) == total


@given(st.integers(0, 2**256 - 1), WEIGHTS)
def test_no_part_is_a_whole_unit_from_its_exact_share(total: int, weights: dict[str, int]) -> None:
    whole = sum(weights.values())
    for name, part in proportional(total, weights).items():
        assert abs(part - Fraction(total * weights[name], whole)) < 1


@given(st.integers(0, 10**9), WEIGHTS, st.randoms())
def test_the_order_of_the_parts_changes_nothing(total: int, weights: dict[str, int], order: random.Random) -> None:
    shuffled = list(weights.items())
    order.shuffle(shuffled)
    assert proportional(total, dict(shuffled)) == proportional(total, weights)


@given(st.integers(0, 10**6), WEIGHTS)
def test_a_larger_weight_never_gets_less(total: int, weights: dict[str, int]) -> None:
    parts = proportional(total, weights)
    for one in weights:
        for other in weights:
            if weights[one] > weights[other]:
                assert parts[one] >= parts[other]


@given(st.integers(1, 2**62), WEIGHTS)
def test_a_public_package_divides_seats_alike(seats: int, weights: dict[str, int]) -> None:
    try:
        seated = hamilton(list(weights.values()), seats, fractions=True, parties=list(weights), tiesallowed=False)
    except TiesException:
        assume(False)  # it breaks ties by place, not by name
    assert list(proportional(seats, weights).values()) == list(seated)


def test_ties_go_to_the_first_name() -> None:
    assert proportional(100, {"carol": 1, "alice": 1, "bob": 1}) == {"alice": 34, "bob": 33, "carol": 33}


def test_a_weight_of_zero_gets_nothing() -> None:
    assert proportional(7, {"alice": 0, "bob": 2, "carol": 1}) == {"alice": 0, "bob": 5, "carol": 2}


@given(st.dictionaries(NAMES, st.integers(-(10**30), 10**30), min_size=1), st.integers(1, 10**15))
def test_signed_parts_sum_to_the_floor_of_their_sum(numerators: dict[str, int], denominator: int) -> None:
    total = sum(numerators.values()) // denominator
    parts = largest_remainder(numerators, denominator, total)
    assert sum(parts.values()) == total
    for name, part in parts.items():
        assert part - numerators[name] // denominator in (0, 1)


@pytest.mark.parametrize(("total", "denominator"), [(4, 2), (-1, 2), (1, 0), (3, 1), (1, 1)])
def test_a_total_that_is_not_the_parts_is_refused(total: int, denominator: int) -> None:
    with pytest.raises(ValueError, match="not"):
        largest_remainder({"alice": 1, "bob": 1}, denominator, total)


def test_negative_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        proportional(10, {"alice": -1, "bob": 2})


def sorted_at_once(numerators: dict[str, int], denominator: int, total: int) -> dict[str, int]:
    """The definition, with every remainder at hand."""
    parts = {key: numerator // denominator for key, numerator in numerators.items()}
    remainders = {key: numerator % denominator for key, numerator in numerators.items() if numerator % denominator}
    first = sorted(remainders, key=lambda key: (-remainders[key], key))
    return {key: part + (key in first[: total - sum(parts.values())]) for key, part in parts.items()}


@given(st.dictionaries(NAMES, st.integers(-(2**90), 2**90)), st.integers(1, 2**70), st.data())
def test_parts_asked_one_at_a_time_are_those_divided_together(
    numerators: dict[str, int], denominator: int, draw: st.DataObject
) -> None:
    floors = sum(numerator // denominator for numerator in numerators.values())
    inexact = sum(1 for numerator in numerators.values() if numerator % denominator)
    total = draw.draw(st.integers(floors, floors + inexact))
    made = cut(iter(numerators.items()), denominator, total)
    found = {key: made.part(key, numerator) for key, numerator in numerators.items()}
    assert found == sorted_at_once(numerators, denominator, total)
    assert sum(found.values()) == total
