import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.policies.cap import Cap, levelled
from ledger.policies.policy import Due

AMOUNTS = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(0, 2**256 - 1), min_size=1)
SMALL = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 20), min_size=1)
LIMITS = st.integers(0, 2**256 - 1)


def levels(amounts: dict[str, int], limit: int) -> dict[str, int]:
    level = levelled(amounts.items, limit)
    return {name: level(name, amount) for name, amount in amounts.items()}


@pytest.mark.parametrize(
    ("amounts", "limit", "wanted"),
    [
        ({"a": 70, "b": 20, "c": 10}, 100, {"a": 70, "b": 20, "c": 10}),
        ({"a": 70, "b": 20, "c": 10}, 40, {"a": 40, "b": 40, "c": 20}),
        ({"a": 70, "b": 25, "c": 5}, 40, {"a": 40, "b": 40, "c": 20}),  # b reaches the cap by what a leaves
        ({"a": 70, "b": 20, "c": 10}, 30, {"a": 30, "b": 30, "c": 30}),
        ({"a": 70, "b": 0}, 40, {"a": 40, "b": 0}),
        ({"a": 1, "b": 1, "c": 2}, 1, {"a": 1, "b": 1, "c": 1}),
        ({"a": 5, "b": 1, "c": 1}, 4, {"a": 4, "b": 2, "c": 1}),
        ({"a": 3}, 0, {"a": 0}),
    ],
)
def test_what_exceeds_a_cap_goes_to_the_others_as_far_as_their_own(
    amounts: dict[str, int], limit: int, wanted: dict[str, int]
) -> None:
    assert levels(amounts, limit) == wanted


@given(AMOUNTS | SMALL, LIMITS | st.integers(0, 20))
def test_levelling_loses_nothing_but_what_nobody_may_take(amounts: dict[str, int], limit: int) -> None:
    after = levels(amounts, limit)
    assert after.keys() == amounts.keys()
    assert max(after.values()) <= limit
    entitled = [name for name in amounts if amounts[name]]
    assert sum(after.values()) == min(sum(amounts.values()), limit * len(entitled))
    for name, amount in amounts.items():
        assert after[name] >= min(amount, limit)
        for other in amounts:
            if amount > amounts[other]:
                assert after[name] >= after[other]


@given(SMALL, st.integers(0, 20), st.randoms())
def test_the_order_changes_no_level(amounts: dict[str, int], limit: int, order: random.Random) -> None:
    shuffled = list(amounts.items())
    order.shuffle(shuffled)
    assert levels(dict(shuffled), limit) == levels(amounts, limit)


@given(SMALL, st.integers(0, 20), st.booleans())
def test_what_a_cap_takes_is_the_others_or_surplus(amounts: dict[str, int], limit: int, redistribute: bool) -> None:
    dues = [Due(name, amount) for name, amount in amounts.items()]
    after = list(Cap(amount=limit, redistribute=redistribute).apply(dues, sum(amounts.values())))
    assert sum(due.redistributed for due in after) == 0
    for due in after:
        surplus = sum(part.amount for part in due.parts)
        assert due.amount + surplus == amounts[due.contributor] + due.redistributed
        assert due.amount <= limit
        assert redistribute or not due.redistributed


def test_a_cap_in_basis_points_is_of_all_positive_shares() -> None:
    after = list(Cap(basis_points=2500).apply([Due("a", 60), Due("b", 20)], whole=103))
    assert [due.amount for due in after] == [25, 20]
