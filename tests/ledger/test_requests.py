"""What is asked for, before the books are looked at. What is refused, and how it is stored: test_journal."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import requests
from ledger.errors import HeldAccountError
from ledger.lines import Line, debit, imbalance, merged, mirrored
from ledger.money import LARGEST_AMOUNT

LINES = st.lists(
    st.builds(
        debit,
        st.sampled_from(["buyer", "escrow", "house", "payable:alice", "payable:bob"]),
        st.sampled_from(["EUR", "JPY"]),
        st.integers(-9, 9) | st.integers(-LARGEST_AMOUNT, LARGEST_AMOUNT),
    ),
    max_size=30,
)


def ready(**said: Any) -> requests.Ready:
    asked: dict[str, Any] = {"kind": "test", "subject": "x", "key": "k", "payload": {}}
    return requests.ready(requests.Asked(**asked | said))


def balanced(lines: list[Line]) -> list[Line]:
    """The lines, and what balances them on an account of its own."""
    totals = {code: sum(line.signed for line in lines if line.commodity == code) for code in ("EUR", "JPY")}
    return [*lines, *(debit("gap", code, -total) for code, total in totals.items() if abs(total) <= LARGEST_AMOUNT)]


@given(LINES)
def test_merging_keeps_every_accounts_sum_and_the_order_of_first_mention(lines: list[Line]) -> None:
    made = merged(lines)
    sums: dict[tuple[str, str], int] = {}
    for line in lines:
        sums[line.account, line.commodity] = sums.get((line.account, line.commodity), 0) + line.signed
    assert [(line.account, line.commodity, line.signed) for line in made] == [
        (*key, total) for key, total in sums.items() if total
    ]
    assert merged(made) == made
    assert merged([*lines, *mirrored(lines)]) == []


@given(LINES)
def test_lines_too_many_for_memory_are_merged_alike(lines: list[Line]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requests, "IN_MEMORY", 3)
        assert list(requests.merged_lines(iter(lines))) == merged(lines)


@given(LINES)
def test_what_balances_is_ready_whatever_its_order_and_so_is_its_content(lines: list[Line]) -> None:
    whole = merged(balanced(lines))
    if imbalance(whole) or any(line.amount > LARGEST_AMOUNT for line in whole):
        return
    one = ready(lines=whole)
    assert (list(one.lines), one.content) == (whole, ready(lines=iter(whole)).content)


HOLD = {"account": "holdback:alice", "commodity": "EUR", "amount": "7"}
CHANGE = HOLD | {"hold": 1, "change": "posted", "amount": "3"}
BACK = HOLD | {"hold": 1, "change": "restored", "amount": "2"}

STATED: list[tuple[str, dict[str, Any], int | None]] = [
    ("a hold in the payload", {"payload": {"holds": [HOLD]}}, 7),
    ("a hold in a part", {"parts": [("alice", {"holds": [HOLD]})]}, 7),
    ("a hold in each", {"payload": {"holds": [HOLD]}, "parts": [("alice", {"holds": [HOLD, HOLD]})]}, 21),
    ("a change", {"payload": {"hold_changes": [CHANGE]}}, -3),
    ("what is restored", {"payload": {"hold_changes": [BACK]}}, 2),
    ("a hold and a change", {"payload": {"holds": [HOLD], "hold_changes": [CHANGE, CHANGE]}}, 1),
    ("what comes to nothing", {"payload": {"holds": [HOLD], "hold_changes": [CHANGE, CHANGE | {"amount": "4"}]}}, 0),
    ("nothing", {}, 0),
]


@pytest.mark.parametrize(("said", "added"), [case[1:] for case in STATED], ids=[case[0] for case in STATED])
def test_an_account_of_holds_moves_by_what_is_stated_and_nothing_else(said: dict[str, Any], added: int) -> None:
    for moved in range(-4, 23):
        lines = [debit("house", "EUR", moved), debit("holdback:alice", "EUR", -moved)]
        if moved == added:
            ready(lines=lines, **said)
        else:
            with pytest.raises(HeldAccountError, match="holdback:alice") as caught:
                ready(lines=lines, **said)
            assert (caught.value.moved, caught.value.stated) == (moved, added)


def test_a_hold_of_another_account_or_commodity_does_not_count() -> None:
    lines = [debit("house", "EUR", 7), debit("holdback:alice", "EUR", -7)]
    for other in ({"account": "holdback:bob"}, {"commodity": "USD"}):
        with pytest.raises(HeldAccountError):
            ready(lines=lines, payload={"holds": [HOLD | other]})
