"""Two publishers sign what only one of them may send: who saves first decides."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlmodel import Session

from ledger.chain import attempts, booking, publications
from ledger.chain.attempts import CANCEL, SUBMIT, Draft, free_nonce
from ledger.chain.distributors import distributor
from ledger.chain.fees import Fees
from ledger.chain.node import Receipt
from ledger.chain.transactions import transaction, transaction_hash
from ledger.database import Ledger
from ledger.models import Attempt
from tests.ledger.chain.books import prepare
from tests.ledger.chain.world import World


@pytest.fixture
def intended(books: Ledger, world: World) -> Ledger:
    """Books with an open publication."""
    prepare(books, world)
    with books.writing() as session:
        publications.intend(session, publications.plan(session, distributor(session), 1))
    return books


def draft(session: Session, world: World, nonce: int, *, fee: int = 100, purpose: str = SUBMIT) -> Draft:
    key, made = world.keys["publisher"], publications.publications(session, distributor(session))[-1]
    fees = Fees(fee, 1)
    asked = transaction(chain_id=world.chain_id, nonce=nonce, to=key.address, data=b"", gas=21_000, fees=fees)
    raw = key.sign_transaction(asked)
    return Draft(
        made.entry, purpose, world.chain_id, key.address, nonce, raw, transaction_hash(raw), asked["gas"], fees
    )


def save(books: Ledger, world: World, nonce: int, beside: list[int], instead_of: int | None, **options: object) -> int:
    """Save a draft; its number, or 0 where somebody was faster."""
    with books.writing() as session:
        asked = draft(session, world, nonce, **options)  # type: ignore[arg-type]
        saved = attempts.save(session, asked, beside=beside, instead_of=instead_of)
    return saved.id if saved else 0


def test_an_attempt_is_kept_as_it_was_signed(intended: Ledger, world: World) -> None:
    with intended.writing() as session:
        asked = draft(session, world, 5)
        attempts.save(session, asked, beside=[], instead_of=None)
    with intended.reading() as session:
        (found,) = attempts.of_publication(session, asked.publication)
    assert (found.raw, found.hash, found.nonce, found.sender) == (asked.raw, asked.hash, 5, asked.sender)
    assert (found.max_fee, found.priority_fee, found.gas) == (100, 1, 21_000)


def test_only_the_first_of_two_is_saved(intended: Ledger, world: World) -> None:
    assert save(intended, world, 5, [], None) == 1
    assert save(intended, world, 5, [], None, fee=200) == 0
    assert save(intended, world, 6, [], None) == 0  # who has seen no attempt of the publication
    assert save(intended, world, 5, [1], None, fee=200) == 0  # who has seen none at its nonce
    assert save(intended, world, 5, [1], 1, fee=200) == 2
    assert save(intended, world, 5, [1], 1, fee=300) == 0
    assert save(intended, world, 5, [1, 2], 1, fee=300) == 0
    assert save(intended, world, 5, [1, 2], 2, fee=300, purpose=CANCEL) == 3


def test_nothing_is_saved_or_noted_once_the_publication_is_over(intended: Ledger, world: World) -> None:
    """The entry that ends it commits to what was sent and seen for it."""
    assert save(intended, world, 5, [], None) == 1
    with intended.writing() as session:
        made = publications.publications(session, distributor(session))[-1]
        booking.book_abandoned(session, made, "wrong")
    assert save(intended, world, 5, [1], 1, fee=200, purpose=CANCEL) == 0
    with intended.writing() as session:
        attempts.note(session, session.get_one(Attempt, 1), receipt("a"))
        assert attempts.is_news(session, 1, receipt("a"))


def receipt(block: str) -> Receipt:
    return Receipt("0x" + 64 * "1", 7, "0x" + 64 * block, True, (), 21_000, 1, None, 0)


def test_a_block_is_noted_once_and_another_one_is_news(intended: Ledger, world: World) -> None:
    save(intended, world, 5, [], None)
    with intended.writing() as session:
        attempt = session.get_one(Attempt, 1)
        for block, news in (("a", True), ("a", False), ("b", True), ("a", False)):
            assert attempts.is_news(session, 1, receipt(block)) == news
            attempts.note(session, attempt, receipt(block))


def test_what_is_over_takes_no_nonce(intended: Ledger, world: World) -> None:
    save(intended, world, 5, [], None)
    sender = world.address("publisher")
    with intended.writing() as session:
        assert set(attempts.live(session, world.chain_id, sender)) == {5}
        assert attempts.live(session, world.chain_id, sender, 6) == {}
        assert attempts.live(session, world.chain_id + 1, sender) == {}
        assert attempts.live(session, world.chain_id, world.address("bob")) == {}
        booking.book_abandoned(session, publications.publications(session, distributor(session))[-1], "wrong")
        assert attempts.live(session, world.chain_id, sender) == {}
        assert set(attempts.newest(session, world.chain_id, sender)) == {5}


def test_the_newest_of_a_nonce_counts(intended: Ledger, world: World) -> None:
    save(intended, world, 5, [], None)
    save(intended, world, 5, [1], 1, fee=200)
    with intended.reading() as session:
        found = attempts.newest(session, world.chain_id, world.address("publisher"))
    assert {nonce: attempt.id for nonce, attempt in found.items()} == {5: 2}


@given(count=st.integers(0, 50), taken=st.sets(st.integers(0, 60)))
def test_nonces_are_given_without_a_gap(count: int, taken: set[int]) -> None:
    nonce = free_nonce(count, taken)
    assert nonce >= count
    assert nonce not in taken
    assert set(range(count, nonce)) <= taken
