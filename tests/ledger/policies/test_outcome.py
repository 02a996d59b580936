"""Whatever is composed: every entry balances, every part is in its home, and nothing is lost."""

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from ledger.accounts import KINDS, split_name
from ledger.canonical import canonical
from ledger.errors import AmountError
from ledger.lines import imbalance
from ledger.money import NAT_EXPONENT, Amount, Asset
from ledger.policies import Cap, Holdback, Minimum, Policy, StopPayment, Vesting, Withholding
from ledger.policies.outcome import Outcome, Payout, Standing, compute
from ledger.policies.terms import Terms, Worth

EUR = Asset("EUR", 2)
NAMES = st.sampled_from("abcdefgh")
SMALL, LARGE = st.integers(0, 50), st.integers(0, 2**256 - 1)
MONEY = SMALL | LARGE
BASIS_POINTS = st.integers(0, 10_000)
DATES = st.sampled_from(["2027-01-01", "2027-06-01", "2028-01-01"])
VALUES = st.dictionaries(NAMES, st.integers(-9, 9) | st.integers(-(10**15), 10**15), min_size=1)

POLICIES: tuple[st.SearchStrategy[Policy], ...] = (
    st.builds(Cap, amount=MONEY, redistribute=st.booleans())
    | st.builds(Cap, basis_points=BASIS_POINTS, redistribute=st.booleans()),
    st.builds(Withholding, BASIS_POINTS),
    st.builds(Minimum, MONEY),
    st.builds(Holdback, BASIS_POINTS, DATES),
    st.builds(
        lambda now, parts: Vesting(
            (*([(None, now)] if now else []), *zip(["2027-01-01", "2028-01-01"], parts, strict=False))
        ),
        st.integers(0, 3),
        st.lists(st.integers(1, 9), min_size=1, max_size=2),
    ),
    st.just(StopPayment()),
)


@st.composite
def terms(draw: st.DrawFn, amount: st.SearchStrategy[int] = MONEY) -> Terms:
    """Any terms: any policies, each once, in any order."""
    chosen = draw(st.lists(st.sampled_from(range(len(POLICIES))), unique=True))
    return Terms(
        draw(st.sampled_from(["pool", "rate"])),
        Amount(draw(amount.filter(bool)), EUR),
        draw(st.sampled_from(["floor", "carry", "slash"])),
        draw(BASIS_POINTS),
        policies=tuple(draw(POLICIES[place]) for place in chosen),
    )


STANDINGS = st.builds(
    Standing,
    owed=st.dictionaries(NAMES, MONEY),
    staked=st.dictionaries(NAMES, MONEY),
    accrued=st.dictionaries(NAMES, MONEY),
    stopped=st.dictionaries(NAMES, st.just("dispute 9")),
    estates=st.dictionaries(NAMES, st.dictionaries(NAMES, st.integers(1, 5))),
)


@st.composite
def worths(draw: st.DrawFn, values: st.SearchStrategy[dict[str, int]] = VALUES) -> Worth:
    return Worth(draw(values), draw(st.integers(-(10**15), 10**15)), draw(st.integers(-(10**9), 10**9)))


def computed(worth: Worth, agreed: Terms, standing: Standing) -> Outcome:
    assume(agreed.mode == "rate" or any(value > 0 for value in worth.values.values()))
    return compute(worth, agreed, standing)


@settings(deadline=None, max_examples=300)
@given(worths(), terms(), STANDINGS)
def test_each_minor_unit_has_a_home(worth: Worth, agreed: Terms, standing: Standing) -> None:
    outcome = computed(worth, agreed, standing)
    for payout in outcome.payouts:
        who = payout.contributor
        assert payout.value == worth.values[who]
        came = payout.share + payout.forgiven + payout.carried + payout.slashed + payout.drawn + payout.redistributed
        assert came == payout.netted + sum(part.amount for part in payout.parts) + payout.paid
        assert min(payout.forgiven, payout.carried, payout.slashed, payout.netted, payout.drawn) >= 0
        assert all(part.amount > 0 for part in payout.parts)
        assert all(amount > 0 for amount in payout.payees.values())
        assert payout.forgiven + payout.carried + payout.slashed == max(-payout.share, 0)
        assert payout.slashed <= standing.staked.get(who, 0)
        assert payout.drawn in (0, standing.accrued.get(who, 0))
        assert payout.netted <= standing.owed.get(who, 0)
        if payout.paid or payout.parts:
            assert payout.netted == standing.owed.get(who, 0) or any(part.home == "surplus" for part in payout.parts)
        assert set(payout.payees) <= set(standing.estates.get(who) or {who})
    assert sum(payout.redistributed for payout in outcome.payouts) == 0
    shares = sum(payout.share for payout in outcome.payouts)
    assert outcome.funded == shares + outcome.priced_house + outcome.gap + outcome.fee
    assert outcome.fee >= 0


@settings(deadline=None, max_examples=300)
@given(worths(), terms(), STANDINGS)
def test_every_entry_balances_and_takes_no_account_below_its_floor(
    worth: Worth, agreed: Terms, standing: Standing
) -> None:
    outcome = computed(worth, agreed, standing)
    try:
        lines = outcome.lines("EUR")
    except AmountError:
        # Only a debt, a price or an addition may be beyond what the books hold, never a division of what there is.
        assert agreed.mode == "rate" or agreed.negative != "floor" or any(standing.accrued.values())
        return
    assert imbalance(lines) == {}
    touched = [line.account for line in lines]
    assert len(touched) == len(set(touched))  # the journal takes them as they come
    assert all(line.amount for line in lines)
    before = {
        **{f"receivable:{who}": amount for who, amount in standing.owed.items()},
        **{f"stake:{who}": amount for who, amount in standing.staked.items()},
        **{f"accrued:{who}": amount for who, amount in standing.accrued.items()},
        "escrow": max(outcome.funded, 0),
    }
    for line in lines:
        kind = KINDS[split_name(line.account)[0]]
        after = before.get(line.account, 0) + (line.amount if line.side == kind.normal_side else -line.amount)
        assert kind.floor is None or after >= kind.floor, line
        if line.account == "escrow":
            assert after == max(-outcome.funded, 0)


@settings(deadline=None)
@given(worths(), terms(), STANDINGS, st.integers(1, 3))
def test_contributors_asked_about_a_few_at_a_time_get_what_they_get_together(
    worth: Worth, agreed: Terms, standing: Standing, together: int
) -> None:
    def some(contributors: Sequence[str]) -> Standing:
        told = {
            name: {who: what for who, what in getattr(standing, name).items() if who in contributors}
            for name in standing.__dict__
        }
        return Standing(**told)

    whole = computed(worth, agreed, standing)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ledger.policies.outcome._TOGETHER", together)
        assert compute(worth, agreed, some) == whole


@settings(deadline=None)
@given(worths(), terms(), STANDINGS, st.randoms())
def test_the_order_of_the_contributors_changes_nothing(
    worth: Worth, agreed: Terms, standing: Standing, order: random.Random
) -> None:
    outcome = computed(worth, agreed, standing)
    shuffled = list(worth.values.items())
    order.shuffle(shuffled)
    other = computed(Worth(dict(shuffled), worth.house, worth.gap), agreed, standing)
    assert {payout.contributor: payout for payout in other.payouts} == {
        payout.contributor: payout for payout in outcome.payouts
    }
    assert (other.house, other.gap, other.fee, other.funded) == (
        outcome.house,
        outcome.gap,
        outcome.fee,
        outcome.funded,
    )


def kept(payout: Payout) -> int:
    """What a contributor is better off by, now or later."""
    homes = ("accrued", "holdback", "vesting", "stopped")
    later = sum(payout.at(home) for home in homes)
    return payout.paid + later + payout.netted - payout.drawn - payout.carried - payout.slashed


@settings(deadline=None, max_examples=300)
@given(worths(), terms(), MONEY, MONEY, MONEY)
def test_a_larger_value_never_gets_less_all_else_equal(
    worth: Worth, agreed: Terms, owed: int, staked: int, accrued: int
) -> None:
    alike = Standing(*(dict.fromkeys(worth.values, amount) for amount in (owed, staked, accrued)))
    payouts = sorted(computed(worth, agreed, alike).payouts, key=lambda payout: payout.value)
    redistributing = sum(isinstance(policy, Cap) and policy.redistribute for policy in agreed.policies)
    for less, more in pairwise(payouts):
        if less.value < more.value:
            assert less.share <= more.share
            # Equal shares are equal claims to what others' caps leave: its odd unit goes by id, as everywhere.
            odd = redistributing if less.share == more.share else 0
            assert less.paid <= more.paid + odd
            # What accrued before may become due for the larger one only, and with it what is taken off: not alike.
            assert accrued or kept(less) <= kept(more) + odd


@settings(deadline=None, max_examples=300)
@given(worths(), terms(), STANDINGS, NAMES, st.integers(1, 20) | st.integers(1, 10**15))
def test_who_raises_their_own_value_never_gets_a_smaller_share(
    worth: Worth, agreed: Terms, standing: Standing, who: str, more: int
) -> None:
    assume(who in worth.values)
    raised = Worth({**worth.values, who: worth.values[who] + more}, worth.house, worth.gap)
    shares = [
        next(payout.share for payout in computed(each, agreed, standing).payouts if payout.contributor == who)
        for each in (worth, raised)
    ]
    assert shares[0] <= shares[1]


@settings(deadline=None)
@given(worths(), terms(amount=st.just(1)), STANDINGS)
def test_one_unit_among_many_goes_to_somebody(worth: Worth, agreed: Terms, standing: Standing) -> None:
    agreed = replace(agreed, mode="pool", fee_basis_points=min(agreed.fee_basis_points, 9_999))
    outcome = computed(worth, agreed, standing)
    (winner,) = (payout for payout in outcome.payouts if payout.share > 0)
    assert winner.share == 1
    best = max(worth.values.values())
    assert worth.values[winner.contributor] == best
    assert winner.contributor == min(name for name, value in worth.values.items() if value == best)


@settings(deadline=None)
@given(worths(), terms(), STANDINGS)
def test_figures_are_written_down_and_read_back(worth: Worth, agreed: Terms, standing: Standing) -> None:
    for payout in computed(worth, agreed, standing).payouts:
        canonical(payout.stated())
        assert Payout.read(payout.contributor, payout.stated()) == payout


@settings(deadline=None)
@given(worths(), terms(), STANDINGS)
def test_at_a_rate_contributors_house_and_gap_are_rate_times_improvement(
    worth: Worth, agreed: Terms, standing: Standing
) -> None:
    outcome = compute(worth, replace(agreed, mode="rate"), standing)
    contributors = sum(payout.share + payout.forgiven for payout in outcome.payouts)
    total = agreed.amount.minor * worth.improvement // 10**NAT_EXPONENT
    assert contributors + outcome.house + outcome.gap == total
    assert outcome.funded == total + outcome.fee


@settings(deadline=None)
@given(worths(), terms(), STANDINGS)
@example(Worth({"a": 1}, 0, 0), Terms("pool", Amount(2**256 - 1, EUR)), Standing())
def test_a_pool_is_divided_whole(worth: Worth, agreed: Terms, standing: Standing) -> None:
    outcome = computed(worth, replace(agreed, mode="pool"), standing)
    positive = sum(max(payout.share, 0) for payout in outcome.payouts)
    assert positive + outcome.fee == outcome.funded == agreed.amount.minor
    assert outcome.house == sum(payout.carried + payout.slashed for payout in outcome.payouts)


@pytest.mark.parametrize("policies", [(Cap(amount=60, redistribute=True), Minimum(0)), (Minimum(0),)])
def test_nobody_is_paid_while_they_owe(policies: Any) -> None:
    agreed = Terms("pool", Amount(100, EUR), policies=policies)
    outcome = compute(Worth({"a": 4, "b": 1}, 0, 0), agreed, Standing(owed={"b": 35}, accrued={"b": 10}))
    paid = {payout.contributor: (payout.netted, payout.drawn, payout.paid) for payout in outcome.payouts}
    # b's 20 are netted, so nothing is left to take part in a's excess; what accrued pays the debt further.
    assert paid["b"] == (30, 10, 0)


def test_a_debt_too_large_for_the_books_is_refused() -> None:
    agreed = Terms("pool", Amount(2**256 - 1, EUR), "carry")
    outcome = compute(Worth({"a": 1, "b": -2}, 2, 0), agreed, Standing())
    with pytest.raises(AmountError, match="receivable:b"):
        outcome.lines("EUR")
