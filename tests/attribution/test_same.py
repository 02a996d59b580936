"""Vectors are compared two elements at a time, and as torch compares them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attribution.parameters import same

NUMBERS = st.lists(st.sampled_from([0.0, -0.0, 1.0, 1.0 + 2**-23, 1e-45, 1e-40, 3e38]), max_size=7)


@given(NUMBERS, NUMBERS, st.integers(0, 3), st.sampled_from([torch.float32, torch.float64, torch.bfloat16]))
def test_equal_is_what_torch_calls_equal_wherever_the_vectors_lie(
    one: list[float], other: list[float], before: int, dtype: torch.dtype
) -> None:
    longest = max(len(one), len(other))
    for left, right in ((one, other), (one, list(one)), ((one + other)[:longest], (other + one)[:longest])):
        ours = torch.tensor([7.0] * before + left, dtype=dtype)[before:]
        theirs = torch.tensor(right, dtype=dtype)
        if len(ours) == len(theirs):
            assert same(ours, theirs) == torch.equal(ours, theirs)


@pytest.mark.parametrize("place", range(4))
def test_one_element_that_differs_is_seen_wherever_it_is_with_denormals_flushed_too(place: int) -> None:
    ours, theirs = torch.zeros(5, dtype=torch.float32), torch.zeros(5, dtype=torch.float32)
    theirs[place] = 1.0
    assert not same(ours, theirs)
    ours[place] = 2.0
    torch.set_flush_denormal(True)
    try:
        assert not same(ours, theirs)
    finally:
        torch.set_flush_denormal(False)
