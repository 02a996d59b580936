import hashlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import fingerprint as module
from ledger.errors import RecordTextError
from ledger.fingerprint import fingerprint_records, normalise

TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=20)


@given(TEXTS, st.randoms())
def test_the_order_of_the_records_changes_nothing(texts, order):  # type: ignore[no-untyped-def]
    shuffled = list(texts)
    order.shuffle(shuffled)
    assert fingerprint_records(shuffled) == fingerprint_records(texts)


@given(TEXTS)
def test_the_fingerprint_is_the_documented_one(texts: list[str]) -> None:
    hashes = sorted(hashlib.sha256(normalise(text).encode()).digest() for text in texts if normalise(text))
    wanted = hashlib.sha256(f"ghostledger-dataset/1\n{len(hashes)}\n".encode() + b"".join(hashes)).hexdigest()
    found = fingerprint_records(texts)
    assert (found.fingerprint, found.record_count) == (wanted, len(hashes))
    assert sorted(hash for hash, copies in found.copies() for _ in range(copies)) == hashes


def test_hashes_with_zero_bytes_are_kept_whole_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = [b"\0" * 32, b"\1" + b"\0" * 31, b"\1" + b"\0" * 30 + b"\1", b"\0" * 31 + b"\1", b"\xff" * 31 + b"\0"]
    real = hashlib.sha256

    class Chosen:
        def __init__(self, number: int) -> None:
            self.number = number

        def digest(self) -> bytes:
            return chosen[self.number]

    def sha256(content: bytes) -> object:
        return Chosen(int(content[2:])) if content.startswith(b"no") else real(content)

    monkeypatch.setattr(module.hashlib, "sha256", sha256)
    found = fingerprint_records([f"no{number}" for number in range(len(chosen))])
    assert [hash for hash, _ in found.copies()] == sorted(chosen)


@pytest.mark.parametrize(
    ("one", "other"),
    [("a\r\nb", "a\nb"), ("a\rb", "a\nb"), ("a  \nb\t\n\n", "a\nb"), ("e\u0301", "\u00e9")],
)
def test_line_ends_trailing_space_and_composition_make_no_other_record(one: str, other: str) -> None:
    assert fingerprint_records([one]) == fingerprint_records([other])


@pytest.mark.parametrize(("one", "other"), [(["a"], ["a", "a"]), (["ab"], ["a", "b"]), (["a"], ["A"]), ([" a"], ["a"])])
def test_other_content_has_another_fingerprint(one: list[str], other: list[str]) -> None:
    assert fingerprint_records(one).fingerprint != fingerprint_records(other).fingerprint


def test_white_space_alone_is_no_record() -> None:
    assert fingerprint_records([" \n", "", "a"]) == fingerprint_records(["a"])


def test_bytes_are_those_of_the_normalised_text() -> None:
    assert fingerprint_records(["é  \r\n", "ab"]).byte_count == 4


def test_records_are_read_once_as_a_stream() -> None:
    alive = 0

    def stream() -> Iterator[str]:
        nonlocal alive
        for number in range(1000):
            alive += 1
            yield f"record {number}"

    assert fingerprint_records(stream()).record_count == alive == 1000


def test_half_of_a_surrogate_pair_is_named_by_its_record() -> None:
    with pytest.raises(RecordTextError, match="record 2"):
        fingerprint_records(["fine", "bad \ud800"])
