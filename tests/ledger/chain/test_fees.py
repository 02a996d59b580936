from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.chain.fees import Fees, first, replacement
from ledger.errors import FeeCapError

wei = st.one_of(st.integers(0, 20), st.integers(0, 10**13))


@st.composite
def fees(draw: st.DrawFn) -> Fees:
    highest = draw(wei)
    return Fees(highest, draw(st.integers(0, highest)))


@given(wei, wei, wei)
def test_first_fees_pay_for_the_next_block_and_never_more_than_the_cap(base: int, priority: int, cap: int) -> None:
    if cap < base + priority:
        with pytest.raises(FeeCapError) as refused:
            first(base, priority, cap)
        assert (refused.value.cap, refused.value.needed) == (cap, base + priority)
        return
    paying = first(base, priority, cap)
    assert base + priority <= paying.max_fee <= cap
    assert paying.priority_fee == priority
    assert paying.max_fee == cap or paying.max_fee >= 2 * base + priority


@given(fees(), wei, wei, wei)
def test_a_replacement_raises_both_fees_by_an_eighth_or_more_within_the_cap(
    before: Fees, base: int, priority: int, above: int
) -> None:
    cap = smallest_cap(before, base, priority) + above
    after = replacement(before, base, priority, cap)
    for old, new in ((before.max_fee, after.max_fee), (before.priority_fee, after.priority_fee)):
        assert new > old
        assert new >= Fraction(9, 8) * old
    assert base + after.priority_fee <= after.max_fee <= cap
    assert after.priority_fee >= min(priority, cap - base)


@given(fees(), wei, wei)
def test_a_refusal_names_the_smallest_cap_that_would_do(before: Fees, base: int, priority: int) -> None:
    needed = smallest_cap(before, base, priority)
    assert replacement(before, base, priority, needed).max_fee == needed
    with pytest.raises(FeeCapError) as refused:
        replacement(before, base, priority, needed - 1)
    assert (refused.value.cap, refused.value.needed) == (needed - 1, needed)


def smallest_cap(before: Fees, base: int, priority: int) -> int:
    with pytest.raises(FeeCapError) as refused:
        replacement(before, base, priority, -1)
    return refused.value.needed


def test_replacements_come_to_an_end_at_the_cap() -> None:
    cap = 10**11
    paying, rounds = first(10**9, 10**9, cap), 0
    while paying.max_fee * 9 <= cap * 8:
        paying, rounds = replacement(paying, 10**9, 10**9, cap), rounds + 1
    assert rounds == 29
    with pytest.raises(FeeCapError, match="a cap of 100000000000 wei per gas is too low now: 1"):
        replacement(paying, 10**9, 10**9, cap)


# before, base fee, priority, cap, after
EXAMPLES = [
    (Fees(8, 8), 0, 0, 100, Fees(9, 9)),
    (Fees(9, 1), 0, 0, 100, Fees(11, 2)),  # 10.125 and 1.125, rounded up
    (Fees(0, 0), 0, 0, 100, Fees(1, 1)),
    (Fees(80, 8), 100, 50, 1000, Fees(250, 50)),  # what is asked now is followed
    (Fees(80, 8), 100, 5000, 200, Fees(200, 100)),  # as far as the cap allows
]


@pytest.mark.parametrize(("before", "base", "priority", "cap", "after"), EXAMPLES)
def test_replacements_by_example(before: Fees, base: int, priority: int, cap: int, after: Fees) -> None:
    assert replacement(before, base, priority, cap) == after


@pytest.mark.parametrize(("max_fee", "priority"), [(1, 2), (1, -1)])
def test_fees_that_no_node_takes_are_not_made(max_fee: int, priority: int) -> None:
    with pytest.raises(ValueError, match="is not between 0 and"):
        Fees(max_fee, priority)
