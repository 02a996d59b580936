from hypothesis import given
from hypothesis import strategies as st

from ledger.money import Amount, Asset
from ledger.policies.pool import pool
from ledger.policies.terms import Terms, Worth

EUR = Asset("EUR", 2)
VALUES = st.dictionaries(st.text("abcd", min_size=1, max_size=3), st.integers(-(10**15), 10**15), min_size=1)


def terms(minor: int, fee: int = 0) -> Terms:
    return Terms("pool", Amount(minor, EUR), fee_basis_points=fee)


def test_a_budget_is_divided_in_proportion_to_the_positive_values() -> None:
    division = pool(Worth({"alice": 3, "bob": 1, "carol": 0}, house=0, gap=0), terms(1000))
    assert dict(division.shares) == {"alice": 750, "bob": 250, "carol": 0}
    assert (division.house, division.gap, division.fee, division.funded) == (0, 0, 0, 1000)


def test_the_fee_comes_off_first_and_is_rounded_down() -> None:
    division = pool(Worth({"alice": 1}, house=0, gap=0), terms(999, fee=250))
    assert (division.fee, division.shares["alice"]) == (24, 975)


def test_a_negative_value_is_a_debt_at_the_pools_own_price() -> None:
    division = pool(Worth({"alice": 3, "bob": -1}, house=5, gap=1), terms(1000))
    assert dict(division.shares) == {"alice": 1000, "bob": -333}
    assert division.house == 333


@given(VALUES.filter(lambda values: max(values.values()) > 0), st.integers(1, 2**256 - 1), st.integers(0, 10_000))
def test_shares_house_gap_and_fee_are_what_was_funded(values: dict[str, int], minor: int, fee: int) -> None:
    division = pool(Worth(values, house=1, gap=-1), terms(minor, fee))
    assert sum(division.shares.values()) + division.house + division.gap + division.fee == division.funded == minor
    assert sum(share for share in division.shares.values() if share > 0) == minor - division.fee
    assert all(share >= 0 for name, share in division.shares.items() if values[name] >= 0)
    assert all(share <= 0 for name, share in division.shares.items() if values[name] <= 0)
