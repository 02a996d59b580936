import enum
from typing import Any

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from ledger.canonical import part_leaf, posting_leaf
from ledger.canonical_json import dumps
from ledger.lines import Line

# Text with everything that is escaped, sorts otherwise in UTF-16, or has no UTF-8 form.
TEXT = st.text(st.characters(exclude_categories=[])) | st.text(
    st.sampled_from('a"\\\b\f\n\r\t\x00\x1f\x7f\u2028\ue000😀\ud800')
)
SCALARS = st.none() | st.booleans() | st.integers() | st.integers(-(2**53) - 2, 2**53 + 2) | st.floats() | TEXT
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(TEXT, inner))
FLAT = st.dictionaries(st.text(st.characters(codec="ascii")), st.none() | TEXT)


class Colour(enum.StrEnum):
    RED = "red"


def _outcome(encode: Any, value: Any) -> bytes | str:
    try:
        return encode(value)
    except ValueError as error:
        return repr(error)


@given(VALUES | FLAT)
@example({"\ue000": 1, "😀": 2})
@example({"big": 2**53})
@example([1.0, -0.0, 1e21, {"a": Colour.RED, "b": True, "c": {}}])
@example({1: "a key that is no text"})
@example({"a": {"set"}})
@example("\ud800")
def test_the_bytes_are_those_of_the_library_and_so_are_the_refusals(value: Any) -> None:
    assert _outcome(dumps, value) == _outcome(rfc8785.dumps, value)


@given(account=TEXT, commodity=TEXT, side=st.sampled_from(["debit", "credit"]), amount=st.integers(1, 2**256))
def test_a_postings_leaf_is_its_canonical_object(account: str, commodity: str, side: Any, amount: int) -> None:
    stated = {"account": account, "commodity": commodity, "side": side, "amount": str(amount)}
    line = Line(account, commodity, side, amount)
    assert _outcome(posting_leaf, line) == _outcome(rfc8785.dumps, stated)


@given(contributor=TEXT, payload=TEXT)
def test_a_parts_leaf_is_its_canonical_object(contributor: str, payload: str) -> None:
    stated = {"contributor": contributor, "payload": payload}
    assert _outcome(lambda part: part_leaf(*part), (contributor, payload)) == _outcome(rfc8785.dumps, stated)


def test_a_refusal_is_the_librarys_own() -> None:
    with pytest.raises(rfc8785.CanonicalizationError):
        dumps({"amount": 2**256})
