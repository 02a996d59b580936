"""What each policy does to one due, and that its terms can be written down and read back."""

from typing import Any

import pytest

from ledger.accounts import KINDS
from ledger.canonical import canonical
from ledger.errors import InstantError, TermsError
from ledger.money import Amount
from ledger.policies import POLICIES, Cap, Holdback, Minimum, Policy, StopPayment, Terms, Vesting, Withholding, policy
from ledger.policies.policy import Due, Part
from ledger.policies.terms import read_terms

JUNE, JULY = "2027-06-01T00:00:00.000000Z", "2027-07-01T00:00:00.000000Z"
ALL: tuple[Policy, ...] = (
    Cap(amount=500),
    Withholding(1000),
    Minimum(100),
    Holdback(1000, "2027-06-01"),
    Vesting(((None, 1), ("2027-06-01", 1), ("2027-07-01", 2))),
    StopPayment(),
)


@pytest.mark.parametrize(
    ("agreed", "due", "left", "parts"),
    [
        (Cap(amount=500), Due("a", 499), 499, ()),
        (Cap(amount=500), Due("a", 501), 500, (Part("surplus", 1),)),
        (Cap(amount=0), Due("a", 3), 0, (Part("surplus", 3),)),
        (Withholding(1000), Due("a", 99), 90, (Part("withheld", 9),)),
        (Withholding(1000), Due("a", 9), 9, ()),
        (Withholding(10_000), Due("a", 9), 0, (Part("withheld", 9),)),
        (Minimum(100), Due("a", 99), 0, (Part("accrued", 99),)),
        (Minimum(100), Due("a", 100), 100, ()),
        (Minimum(100), Due("a", 60, accrued=39), 0, (Part("accrued", 60),)),
        (Minimum(100), Due("a", 60, accrued=40), 100, ()),
        (Minimum(100), Due("a", 0, accrued=100), 100, ()),
        (Minimum(0), Due("a", 0, accrued=1), 1, ()),
        (Holdback(2500, "2027-06-01"), Due("a", 99), 75, (Part("holdback", 24, JUNE),)),
        (Vesting((("2027-06-01", 1),)), Due("a", 7), 0, (Part("vesting", 7, JUNE),)),
        (
            Vesting(((None, 1), ("2027-06-01", 1), ("2027-07-01", 1))),
            Due("a", 101),
            34,
            (Part("vesting", 34, JUNE), Part("vesting", 33, JULY)),
        ),
        (Vesting((("2027-06-01", 1), ("2027-07-01", 1))), Due("a", 1), 0, (Part("vesting", 1, JUNE),)),
        (StopPayment(), Due("a", 7), 7, ()),
        (StopPayment(), Due("a", 7, stopped="dispute 9"), 0, (Part("stopped", 7, reason="dispute 9"),)),
    ],
)
def test_a_policy_diverts_what_it_says(agreed: Policy, due: Due, left: int, parts: tuple[Part, ...]) -> None:
    (after,) = agreed.apply([due], whole=due.amount)
    assert (after.amount, after.parts) == (left, parts)
    assert after.amount + sum(part.amount for part in after.parts) == due.amount + after.drawn
    assert after.drawn + after.accrued == due.accrued


def test_what_is_diverted_comes_after_what_was() -> None:
    due = Due("a", 100, parts=(Part("withheld", 5),))
    assert Holdback(1000, JUNE).divert(due).parts == (Part("withheld", 5), Part("holdback", 10, JUNE))


def test_no_more_is_diverted_than_there_is() -> None:
    with pytest.raises(ValueError, match="8 of 7"):
        Due("a", 7).diverted("withheld", 8)


def test_every_policy_has_a_place_in_the_usual_order_and_its_homes_are_accounts() -> None:
    assert tuple(type(one) for one in ALL) == POLICIES
    due = [Due("a", 1000, stopped="dispute 9")]
    for agreed in ALL:
        for part in next(agreed.apply(due, 1000)).parts:
            assert KINDS[part.home].normal_side == "credit"


@pytest.mark.parametrize("agreed", [*ALL, Cap(basis_points=2500, redistribute=True)])
def test_terms_with_a_policy_are_written_down_and_read_back(agreed: Policy) -> None:
    terms = Terms("pool", Amount.parse("100.00 EUR"), "slash", 25, True, "sport", (agreed,))
    stated = terms.stated()
    canonical(stated)  # JSON that RFC 8785 takes: no integer beyond 2**53
    assert read_terms(stated) == terms
    assert agreed.described(lambda minor: f"{terms.asset.format(minor)} EUR") in str(terms)


def test_amounts_of_256_bits_survive_being_written_down() -> None:
    policies = (Cap(amount=2**256 - 1), Minimum(2**255 + 1))
    canonical(policy.stated(policies))  # type: ignore[arg-type]
    assert policy.read(policy.stated(policies)) == policies


@pytest.mark.parametrize(
    ("kind", "terms"),
    [
        (Cap, {}),
        (Cap, {"amount": 5, "basis_points": 5}),
        (Cap, {"amount": -1}),
        (Cap, {"basis_points": 10_001}),
        (Withholding, {"basis_points": -1}),
        (Minimum, {"amount": -1}),
        (Holdback, {"basis_points": 10_001, "release_at": "2027-01-01"}),
        (Vesting, {"instalments": ()}),
        (Vesting, {"instalments": (("2027-01-01", 0),)}),
        (Vesting, {"instalments": (("2027-01-02", 1), ("2027-01-01", 1))}),
        (Vesting, {"instalments": (("2027-01-01", 1), (None, 1))}),
        (Vesting, {"instalments": (("2027-01-01", 1), ("2027-01-01T00:00:00Z", 1))}),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(kind: Any, terms: dict[str, Any]) -> None:
    with pytest.raises(TermsError):
        kind(**terms)


def test_a_release_date_that_is_none_is_refused() -> None:
    with pytest.raises(InstantError):
        Holdback(1000, "next year")


@pytest.mark.parametrize(
    "stated", [{"policy": "gift"}, {}, {"policy": "cap"}, {"policy": "minimum", "amount": "x"}, {"policy": "vesting"}]
)
def test_a_policy_that_cannot_be_read_is_refused_by_name(stated: dict[str, str]) -> None:
    with pytest.raises(TermsError, match=stated.get("policy", "''")):
        policy.read([stated])


def test_a_policy_is_agreed_on_once() -> None:
    with pytest.raises(TermsError, match="minimum: can be agreed on once"):
        Terms("pool", Amount.parse("1 EUR"), policies=(Minimum(1), StopPayment(), Minimum(2)))


def test_a_new_policy_is_one_class() -> None:
    from dataclasses import dataclass

    @policy.register
    @dataclass(frozen=True)
    class Tithe(Policy):
        name = "tithe"

        def divert(self, due: Due) -> Due:
            return due.diverted("house", due.amount // 10)

        def stated(self) -> dict[str, Any]:
            return {}

        @classmethod
        def read(cls, stated: Any) -> "Tithe":
            return cls(**stated)

        def described(self, show: Any) -> str:
            return "a tenth to the house"

    try:
        terms = Terms("pool", Amount.parse("1 EUR"), policies=(Tithe(),))
        assert read_terms(terms.stated()) == terms
    finally:
        del policy._KNOWN["tithe"]
