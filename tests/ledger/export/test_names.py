from __future__ import annotations

import pytest
import regex
from beancount.core.account import is_valid
from beancount.core.amount import CURRENCY_RE
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.accounts import KINDS, account_name
from ledger.export import names

RESERVED = ("NAT", "TRUE", "FALSE", "NULL")
SEGMENT = st.text("abcxyz0189", min_size=1, max_size=8)
IDENTIFIERS = st.lists(st.tuples(SEGMENT, st.sampled_from("-_.")), min_size=1, max_size=6).map(
    lambda pairs: "".join(segment + separator for segment, separator in pairs)[:-1]
)
CODES = st.text("ABNTZ019", min_size=1, max_size=15).map("A".__add__) | st.sampled_from(["nat", *RESERVED])

KNOWN = {
    "buyer": "Assets:Buyer",
    "payable:alice": "Liabilities:Payable:Alice",
    "in_flight:alice": "Liabilities:In--flight:Alice",
    "payable:9th.desk_a-b": "Liabilities:Payable:9th---desk--a-b",
}


def test_every_kind_of_account_has_a_root() -> None:
    assert names.ROOTS.keys() == KINDS.keys()
    assert set(names.ROOTS.values()) <= {"Assets", "Liabilities", "Equity", "Income", "Expenses"}


@pytest.mark.parametrize("name", KNOWN)
def test_accounts_are_called_as_documented(name: str) -> None:
    assert names.account_to_beancount(name) == KNOWN[name]


@settings(deadline=None)
@given(st.sampled_from(sorted(KINDS)), IDENTIFIERS)
def test_every_account_is_one_of_beancounts_and_finds_back(kind: str, contributor: str) -> None:
    name = account_name(kind, contributor if KINDS[kind].owned else None)
    there = names.account_to_beancount(name)
    assert is_valid(there)
    assert names.account_from_beancount(there) == name


@settings(deadline=None)
@given(CODES)
def test_every_commodity_is_one_of_beancounts_and_finds_back(code: str) -> None:
    there = names.commodity_to_beancount(code)
    assert regex.fullmatch(CURRENCY_RE, there)
    assert there not in RESERVED[1:]
    assert names.commodity_from_beancount(there) == code
