"""The hashes by which entries are known. What a stored entry's bytes are: test_journal."""

from dataclasses import replace
from typing import Any

import pytest

from ledger.canonical import Request, canonical, content_hash, entry_hash, part_leaf, posting_leaf, root_of
from ledger.lines import Line

REQUEST = Request("funding", "r", '{"a":1}', "2026-03-01T00:00:00.000000Z", "why", "INV-1", 7)
STAMPS: dict[str, Any] = {
    "sequence": 1,
    "recorded_at": "2026-03-02T00:00:00.000000Z",
    "event_at": "2026-03-01T00:00:00.000000Z",
    "key": "k",
    "content": "c" * 64,
    "previous": "p" * 64,
}
LINES = [Line("buyer", "EUR", "debit", 2**200), Line("escrow", "EUR", "credit", 2**200)]
ROOTS = (root_of([part_leaf("alice", "{}")]), root_of(map(posting_leaf, LINES)))


def test_canonical_json_sorts_keys_and_leaves_no_space() -> None:
    assert canonical({"b": [1, None, True], "a": "é\n"}) == '{"a":"é\\n","b":[1,null,true]}'


def test_a_number_that_json_does_not_keep_is_refused() -> None:
    with pytest.raises(ValueError, match="exceeds"):
        canonical({"amount": 2**53})


@pytest.mark.parametrize("field", Request.__dataclass_fields__)
def test_content_covers_every_field_of_the_request(field: str) -> None:
    other = replace(REQUEST, **{field: 8 if field == "reverses" else "other"})
    assert content_hash(other, *ROOTS) != content_hash(REQUEST, *ROOTS)
    if field not in ("kind", "subject", "payload"):
        assert content_hash(replace(REQUEST, **{field: None}), *ROOTS) != content_hash(REQUEST, *ROOTS)


def test_content_covers_parts_and_postings_and_their_order() -> None:
    hashes = {
        content_hash(REQUEST, *ROOTS),
        content_hash(REQUEST, *reversed(ROOTS)),
        content_hash(REQUEST, ROOTS[0], root_of(map(posting_leaf, reversed(LINES)))),
        content_hash(REQUEST, ROOTS[0], root_of(map(posting_leaf, LINES[:1]))),
        content_hash(REQUEST, root_of([part_leaf("bob", "{}")]), ROOTS[1]),
        content_hash(REQUEST, root_of([part_leaf("alice", '{"a":1}')]), ROOTS[1]),
    }
    assert len(hashes) == 6


@pytest.mark.parametrize("field", ["account", "commodity", "side", "amount"])
def test_a_postings_leaf_covers_all_of_it(field: str) -> None:
    other = replace(LINES[0], **{field: 1 if field == "amount" else "other"})
    assert posting_leaf(other) != posting_leaf(LINES[0])


@pytest.mark.parametrize("field", STAMPS)
def test_an_entrys_hash_covers_its_place(field: str) -> None:
    other = 2 if field == "sequence" else "other"
    assert entry_hash(**STAMPS | {field: other}) != entry_hash(**STAMPS)
