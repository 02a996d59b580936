from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from ledger.money import Amount, Asset
from ledger.policies.rate import rate
from ledger.policies.terms import Terms, Worth

EUR = Asset("EUR", 2)
NAT = 10**12
SIGNED = st.integers(-(10**16), 10**16)


def terms(minor: int, fee: int = 0) -> Terms:
    return Terms("rate", Amount(minor, EUR), fee_basis_points=fee)


@given(
    st.dictionaries(st.text("abcd", min_size=1, max_size=3), SIGNED, min_size=1),
    SIGNED,
    SIGNED,
    st.integers(1, 2**200),
    st.integers(0, 10_000),
)
def test_contributors_house_and_gap_are_rate_times_improvement_to_the_minor_unit(
    values: dict[str, int], house: int, gap: int, minor: int, fee: int
) -> None:
    worth = Worth(values, house, gap)
    division = rate(worth, terms(minor, fee))
    paid = sum(division.shares.values()) + division.house + division.gap
    assert paid == minor * worth.improvement // NAT
    assert division.funded == paid + division.fee
    for name, value in values.items():
        assert abs(division.shares[name] - Fraction(minor * value, NAT)) < 1


def test_a_value_of_nothing_is_paid_nothing() -> None:
    division = rate(Worth({"alice": 1, "bob": 0, "carol": 1}, house=0, gap=0), terms(NAT - 1))
    assert dict(division.shares) == {"alice": 1, "bob": 0, "carol": 0}


def test_ties_go_to_contributors_by_id_then_the_house_then_the_gap() -> None:
    half = NAT // 2
    division = rate(Worth({"house": half, "bob": half}, house=half, gap=half), terms(1))
    assert dict(division.shares) == {"house": 1, "bob": 1}
    assert (division.house, division.gap) == (0, 0)


def test_the_fee_is_on_top_of_the_price() -> None:
    division = rate(Worth({"alice": NAT}, house=0, gap=0), terms(1000, fee=500))
    assert (division.shares["alice"], division.fee, division.funded) == (1000, 50, 1050)


def test_a_run_that_made_the_model_worse_credits_the_buyer_and_has_no_fee() -> None:
    division = rate(Worth({"alice": -2 * NAT, "bob": NAT}, house=0, gap=0), terms(1000, fee=500))
    assert dict(division.shares) == {"alice": -2000, "bob": 1000}
    assert (division.fee, division.funded) == (0, -1000)
