import pytest

from ledger.errors import TermsError
from ledger.money import Amount, Asset
from ledger.policies import MODES, TREATMENTS
from ledger.policies.carry import carry
from ledger.policies.floor import floor
from ledger.policies.slash import slash
from ledger.policies.terms import Terms, Treated

ONE = Amount(100, Asset("EUR", 2))


def test_floor_forgives_a_debt_and_carry_keeps_it_and_both_leave_the_stake() -> None:
    assert floor(7, 100) == Treated(forgiven=7, owed=0)
    assert carry(7, 100) == Treated(forgiven=0, owed=7)


@pytest.mark.parametrize(
    ("debt", "stake", "taken", "forgiven"), [(7, 0, 0, 7), (7, 3, 3, 4), (7, 7, 7, 0), (7, 9, 7, 0), (0, 9, 0, 0)]
)
def test_slash_takes_the_stake_and_forgives_the_rest(debt: int, stake: int, taken: int, forgiven: int) -> None:
    assert slash(debt, stake) == Treated(forgiven=forgiven, owed=0, slashed=taken)


def test_every_mode_and_treatment_that_terms_allow_has_a_rule() -> None:
    for mode in MODES:
        for negative in TREATMENTS:
            Terms(mode, ONE, negative)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changed",
    [
        {"mode": "gift"},
        {"negative": "ignore"},
        {"fee_basis_points": -1},
        {"fee_basis_points": 10_001},
        {"amount": Amount(0, Asset("EUR", 2))},
    ],
)
def test_terms_that_make_no_sense_are_refused(changed: dict[str, object]) -> None:
    with pytest.raises(TermsError):
        Terms(**{"mode": "pool", "amount": ONE, **changed})  # type: ignore[arg-type]
