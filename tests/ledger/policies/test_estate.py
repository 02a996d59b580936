from hypothesis import given
from hypothesis import strategies as st

from ledger.policies.estate import split


def test_an_estate_is_divided_by_parts_with_ties_by_id() -> None:
    assert split(100, "alice", {"bob": 1, "carol": 1, "dan": 1}) == {"bob": 34, "carol": 33, "dan": 33}
    assert split(7, "alice", {"alice": 1, "bob": 2}) == {"alice": 2, "bob": 5}


def test_without_payees_everything_is_the_contributors() -> None:
    assert split(7, "alice", {}) == {"alice": 7}


@given(st.integers(0, 2**256 - 1), st.dictionaries(st.sampled_from("abcd"), st.integers(1, 10**6)))
def test_an_estate_is_divided_whole(amount: int, payees: dict[str, int]) -> None:
    assert sum(split(amount, "z", payees).values()) == amount
