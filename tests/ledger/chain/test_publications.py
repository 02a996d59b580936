"""What is published is what is due, set aside once; what the chain says of it is booked once. No chain is asked."""

import hashlib
import re
from collections.abc import Callable
from typing import Any

import pytest
from sqlmodel import Session, col, select

from ledger import balances, bookkeeping, corrections, disputes, journal, payouts, registry, settlement
from ledger.audit import audit
from ledger.chain import booking, publications
from ledger.chain.addresses import DEFAULT_DELAY
from ledger.chain.distributors import distributor, distributors, register_distributor
from ledger.chain.merkle import leaf_hash, verify
from ledger.database import Ledger
from ledger.errors import (
    AccountShutError,
    AssetError,
    ChainClaimError,
    DistributorError,
    HoldError,
    IdempotencyConflictError,
    LedgerError,
    NothingDueError,
    PublicationError,
    PublicationOpenError,
    ReversalError,
)
from ledger.models import Distributor, Entry, Leaf, Publication
from ledger.money import Amount
from ledger.policies import Terms
from ledger.proofs import log
from ledger.settlement import settle
from ledger.statement import statement
from tests.ledger.on_chain import (
    ASSET,
    CHAIN_ID,
    activate,
    claim,
    contract,
    distribute,
    hash_of,
    intend,
    key,
    later,
    owe,
    pay_to,
    publish,
    revoke,
    see,
    try_it,
)

KINDS = ("payable", "publishing", "in_flight", "paid")


@pytest.fixture
def session(staffed: Ledger) -> Any:
    with staffed.writing() as opened:
        yield opened


@pytest.fixture
def file_session(staffed_file: Ledger) -> Any:
    with staffed_file.writing() as opened:
        yield opened


def prepared(session: Session, **due: int) -> Distributor:
    """A distributor, and contributors who are due these amounts and have an address each."""
    made = distribute(session)
    owe(session, **(due or {"alice": 100, "bob": 200, "carol": 300}))
    for who in due or ("alice", "bob", "carol"):
        pay_to(session, who)
    return made


def held(session: Session, who: str) -> dict[str, int]:
    """Where a contributor's money is."""
    found = {kind: balances.balance(session, f"{kind}:{who}", ASSET.code) for kind in KINDS}
    return {kind: amount for kind, amount in found.items() if amount}


def sound(session: Session) -> bool:
    found = [f"{check.name}: {check.detail}" for check in audit(session).checks if not check.ok]
    assert not found
    return True


# What is due


def test_what_is_due_is_set_aside_with_its_leaf_its_part_and_its_hold(session: Session) -> None:
    made = intend(session, prepared(session))
    assert [(one.contributor, one.amount) for one in publications.leaves(session, made)] == [
        ("alice", 100),
        ("bob", 200),
        ("carol", 300),
    ]
    assert held(session, "alice") == {"publishing": 100}
    assert publications.state(session, made) == "intended"
    tree = publications.tree_of(session, made)
    assert ("0x" + tree.root.hex(), tree.total) == (made.root, made.total) == (made.root, 600)
    assert sound(session)


def test_the_metadata_hash_commits_to_the_checkpoint_ahead_of_the_entry(file_session: Session) -> None:
    made_for = prepared(file_session)
    text = log.checkpoint(file_session).text
    made = intend(file_session, made_for)
    assert made.metadata_hash == "0x" + hashlib.sha256(text.encode()).hexdigest()
    assert made.log_size == made.entry - 1


def test_a_dry_run_writes_nothing_and_the_same_intent_again_returns_the_first(session: Session) -> None:
    made_for = prepared(session)
    before = journal.head(session)
    plan = publications.plan(session, made_for, 1)
    assert journal.head(session) == before
    first = publications.intend(session, plan)
    assert publications.intend(session, plan) is first
    publish(session, first)
    assert publications.intend(session, plan) is first
    assert len(publications.publications(session, made_for)) == 1


def test_a_plan_is_made_anew_when_it_is_booked(file_session: Session) -> None:
    made_for = prepared(file_session)
    plan = publications.plan(file_session, made_for, 1)
    owe(file_session, alice=1)
    assert publications.intend(file_session, plan).total == plan.total + 1


def _withdraw(session: Session) -> None:
    registry.withdraw_consent(session, registry.datasets(session, "alice")[0].fingerprint, "2026-03-01")


def _freeze(account: str) -> Callable[[Session], None]:
    def freeze(session: Session) -> None:
        owe(session, alice=1)
        if account != "payable":
            payouts.confirm(session, payouts.start(session, "alice", ASSET.code, 1, key="p").id, key="q")
        bookkeeping.freeze(session, f"{account}:alice", ASSET.code, "looked into")

    return freeze


def _change(session: Session) -> None:
    pay_to(session, "alice", "new", approved_by=["alice"])


KEPT_BACK: list[tuple[str, Callable[[Session], None], str]] = [
    ("consent withdrawn", _withdraw, "consent for dataset .* is withdrawn"),
    ("payable frozen", _freeze("payable"), "payable:alice is frozen in DUSD"),
    ("paid frozen", _freeze("paid"), "paid:alice is frozen in DUSD"),
    ("address to be replaced", _change, f"address {key('new').address} is not in force until 2026-03-"),
]


@pytest.mark.parametrize(("happens", "why"), [one[1:] for one in KEPT_BACK], ids=[one[0] for one in KEPT_BACK])
def test_who_is_not_due_is_listed_with_the_reason(
    file_session: Session, happens: Callable[[Session], None], why: str
) -> None:
    made_for = prepared(file_session)
    happens(file_session)
    plan = publications.plan(file_session, made_for, 1)
    assert [one.contributor for one in plan.due] == ["bob", "carol"]
    assert [one.contributor for one in plan.kept] == ["alice"]
    assert re.match(why, plan.kept[0].reason)
    assert intend(file_session, made_for).total == 500
    assert sound(file_session)


def test_whoever_has_no_address_is_paid_once_they_have_one(session: Session) -> None:
    made_for = distribute(session)
    owe(session, alice=100)
    with pytest.raises(NothingDueError, match=f"alice: no payout address on chain {CHAIN_ID}") as raised:
        publications.plan(session, made_for, 1)
    assert [one.contributor for one in raised.value.kept] == ["alice"]  # type: ignore[attr-defined]
    pay_to(session, "alice")
    assert intend(session, made_for).total == 100


def test_the_payees_of_an_estate_are_paid_at_their_own_addresses(file_session: Session) -> None:
    """Whoever is payable is paid: what a settlement gave to an heir is the heir's."""
    session, made_for = file_session, distribute(file_session)
    registry.add_contributor(session, "heir")
    owe(session, heir=5)
    pay_to(session, "heir")
    assert [one.contributor for one in publications.plan(session, made_for, 1).due] == ["heir"]


def test_a_change_that_took_effect_starts_a_leaf_of_its_own_from_nothing(session: Session) -> None:
    made_for = prepared(session, alice=100)
    finished(session, intend(session, made_for))
    pay_to(session, "alice", "new", approved_by=["alice"])
    later(session, DEFAULT_DELAY)
    owe(session, alice=7)
    second = intend(session, made_for, 2)
    tree = publications.tree_of(session, second)
    assert tree.leaves == {key("alice").address: 100, key("new").address: 7}
    publish(session, second, 50)
    claim(session, made_for, "new", 7, 7)
    claim(session, made_for, "alice", 100, 100)
    assert held(session, "alice") == {"paid": 107}
    assert sound(session)


# Order


def finished(session: Session, made: Publication) -> Publication:
    publish(session, made, made.root_id * 10)
    activate(session, made, made.root_id * 10 + 5)
    return made


def test_one_publication_is_open_at_a_time_until_it_is_active_revoked_or_abandoned(session: Session) -> None:
    made_for = prepared(session)
    first = intend(session, made_for)
    owe(session, alice=1)
    with pytest.raises(PublicationOpenError, match=r"root 1 .* is intended"):
        intend(session, made_for, 2)
    publish(session, first)
    with pytest.raises(PublicationOpenError, match=r"root 1 .* is published"):
        intend(session, made_for, 2)
    activate(session, first)
    second = intend(session, made_for, 2)
    booking.book_abandoned(session, second, "another key")
    third = intend(session, made_for, 2)
    assert third.entry > second.entry
    publish(session, third, 40)
    revoke(session, third, 41)
    with pytest.raises(PublicationError, match="ids are used once, and 2 was the last"):
        publications.plan(session, made_for, 2)
    fourth = intend(session, made_for, 3)
    assert publications.open_publication(session, made_for) is fourth is publications.latest(session, made_for)
    assert fourth.total == 601
    assert sound(session)


REFUSED_ENDS = [
    (["published", "activated"], "revoked"),
    (["published"], "abandoned"),
    (["revoked"], "published"),
    (["abandoned"], "published"),
    (["abandoned"], "revoked"),
    ([], "activated"),
]


@pytest.mark.parametrize(("before", "then"), REFUSED_ENDS)
def test_a_publication_ends_once(file_session: Session, before: list[str], then: str) -> None:
    ends: dict[str, Callable[..., Any]] = {"published": publish, "activated": activate, "revoked": revoke}
    ends["abandoned"] = lambda session, made: booking.book_abandoned(session, made, "never sent")
    made = intend(file_session, prepared(file_session))
    for change in before:
        ends[change](file_session, made)
    with pytest.raises(PublicationError, match=f"cannot be {then}"):
        ends[then](file_session, made)


def test_what_the_chain_says_is_booked_once_and_something_else_is_a_conflict(session: Session) -> None:
    made_for = prepared(session)
    made = intend(session, made_for)
    done = [publish(session, made), activate(session, made), claim(session, made_for, "alice", 100, 100)]
    before = journal.head(session)
    again = [publish(session, made), activate(session, made), claim(session, made_for, "alice", 100, 100)]
    assert again == done
    assert journal.head(session) == before
    for repeat in (
        lambda: publish(session, made, 11),
        lambda: activate(session, made, 21),
        lambda: claim(session, made_for, "alice", 100, 100, block=31),
    ):
        with pytest.raises(IdempotencyConflictError):
            repeat()


def test_what_is_revoked_or_abandoned_is_payable_again(session: Session) -> None:
    made_for = prepared(session, alice=100)
    first = intend(session, made_for)
    booking.book_abandoned(session, first, "never sent")
    assert held(session, "alice") == {"payable": 100}
    revoke(session, intend(session, made_for))
    assert held(session, "alice") == {"payable": 100}, "revoked before its submission was final here"
    third = intend(session, made_for, 2)
    publish(session, third, 20)
    assert held(session, "alice") == {"in_flight": 100}
    revoke(session, third, 21)
    assert held(session, "alice") == {"payable": 100}
    states = [one.state for one in statement(session, "alice").on_chains.published]
    assert states == ["abandoned", "revoked", "revoked"]
    assert sound(session)


# Claims


def test_one_claim_covers_several_publications_the_oldest_first(session: Session) -> None:
    made_for = prepared(session, alice=100, bob=50)
    finished(session, intend(session, made_for))
    owe(session, alice=10)
    finished(session, intend(session, made_for, 2))
    claim(session, made_for, "alice", 100, 100)
    owe(session, alice=1)
    finished(session, intend(session, made_for, 3))
    claim(session, made_for, "alice", 11, 111, to="bob")
    assert held(session, "alice") == {"paid": 111}
    assert held(session, "bob") == {"in_flight": 50}
    assert [one.amount for one in statement(session, "alice").on_chains.claimed] == [100, 11]
    assert sound(session)


def test_a_claim_by_a_proof_of_before_leaves_the_rest_in_flight(file_session: Session) -> None:
    session, made_for = file_session, prepared(file_session, alice=100)
    finished(session, intend(session, made_for))
    owe(session, alice=10)
    revoked = intend(session, made_for, 2)
    publish(session, revoked, 20)
    claim(session, made_for, "alice", 100, 100)
    assert held(session, "alice") == {"in_flight": 10, "paid": 100}
    revoke(session, revoked, 21)
    assert held(session, "alice") == {"payable": 10, "paid": 100}
    assert sound(session)


REFUSED_CLAIMS: list[tuple[str, str, int, int, str]] = [
    ("more than was published", "alice", 101, 101, "1 more than was published"),
    ("an earlier claim is missing", "alice", 50, 100, "had claimed 0 before"),
    ("nothing", "alice", 0, 0, "more than was published"),
    ("a stranger", "stranger", 1, 1, "published nothing for"),
]


@pytest.mark.parametrize(
    ("who", "amount", "cumulative", "words"),
    [one[1:] for one in REFUSED_CLAIMS],
    ids=[one[0] for one in REFUSED_CLAIMS],
)
def test_a_claim_that_the_books_cannot_have_promised_is_refused(
    file_session: Session, who: str, amount: int, cumulative: int, words: str
) -> None:
    made_for = prepared(file_session, alice=100)
    finished(file_session, intend(file_session, made_for))
    with pytest.raises(ChainClaimError, match=words):
        claim(file_session, made_for, who, amount, cumulative)


def test_two_claims_in_one_transaction_are_two(file_session: Session) -> None:
    session, made_for = file_session, prepared(file_session, alice=100, bob=50)
    finished(session, intend(session, made_for))
    for index, (who, amount) in enumerate((("alice", 100), ("bob", 50))):
        said: dict[str, Any] = {"address": key(who).address, "to": key(who).address, "amount": amount}
        said |= {"block_number": 30, "block_hash": hash_of("main 30"), "cumulative": amount}
        booking.book_claim(session, made_for, transaction=hash_of("claim many"), log_index=index, **said)
    assert held(session, "bob") == {"paid": 50}
    assert sound(session)


def test_a_frozen_account_says_what_to_do_when_the_chain_has_moved_on(file_session: Session) -> None:
    session, made_for = file_session, prepared(file_session, alice=100)
    made = intend(session, made_for)
    bookkeeping.freeze(session, "publishing:alice", ASSET.code, "a court")
    with pytest.raises(AccountShutError, match="free it first"):
        publish(session, made)
    bookkeeping.free(session, "publishing:alice", ASSET.code, "done")
    publish(session, made)
    assert sound(session)


# Proofs


def test_proofs_lead_from_every_leaf_to_the_published_root(session: Session) -> None:
    made_for = prepared(session)
    made = finished(session, intend(session, made_for))
    found = list(publications.proofs(session, made_for, made))
    assert len(found) == 3
    assert publications.proof_of(session, "alice", made_for) in found
    assert publications.proof_of(session, key("alice").address, made_for) in found
    for one in found:
        assert one["root"] == made.root
        leaf = leaf_hash(one["chain_id"], one["distributor"], one["account"], int(one["cumulative"]))
        path = [bytes.fromhex(node[2:]) for node in one["proof"]]
        assert verify(bytes.fromhex(made.root[2:]), leaf, path)
    for who in ("stranger", key("stranger").address):
        with pytest.raises(PublicationError):
            publications.proof_of(session, who, made_for)


def test_there_is_no_proof_before_anything_is_published(file_session: Session) -> None:
    made_for = prepared(file_session)
    intend(file_session, made_for)
    with pytest.raises(PublicationError, match="nothing is published yet"):
        publications.proof_of(file_session, "alice", made_for)


def test_what_stands_keeps_its_leaf_and_what_was_revoked_leaves_the_tree(file_session: Session) -> None:
    session, made_for = file_session, prepared(file_session, alice=100)
    finished(session, intend(session, made_for))
    owe(session, bob=50)
    pay_to(session, "bob")
    second = intend(session, made_for, 2)
    publish(session, second, 20)
    assert publications.tree_of(session, second).leaves == {key("alice").address: 100, key("bob").address: 50}
    revoke(session, second, 21)
    owe(session, alice=1)
    _withdraw_bob(session)
    third = intend(session, made_for, 3)
    assert publications.tree_of(session, third).leaves == {key("alice").address: 101}
    assert publications.tree_of(session, second).leaves == {key("alice").address: 100, key("bob").address: 50}


def _withdraw_bob(session: Session) -> None:
    registry.withdraw_consent(session, registry.datasets(session, "bob")[0].fingerprint, "2026-03-01")


# Beside the rest of the books


def test_what_is_being_published_cannot_be_paid_otherwise(file_session: Session) -> None:
    session, made_for = file_session, prepared(file_session, alice=100)
    made = intend(session, made_for)
    for _ in range(2):
        with pytest.raises(HoldError, match="nothing is payable to 'alice'"):
            payouts.start(session, "alice", ASSET.code, key="pay")
        with pytest.raises(LedgerError, match="may not go below 0"):
            payouts.start(session, "alice", ASSET.code, 1, key="pay 1")
        publish(session, made)
    hold = session.exec(select(Leaf).where(Leaf.publication == made.entry)).one()
    assert hold.amount == 100
    for number in (1, 2):
        with pytest.raises(HoldError, match="is no payout"):
            payouts.confirm(session, number, key=f"confirm {number}")


def test_what_a_payout_has_in_flight_is_not_published(file_session: Session) -> None:
    session, made_for = file_session, prepared(file_session, alice=100)
    sent = payouts.start(session, "alice", ASSET.code, 60, key="pay")
    made = intend(session, made_for)
    assert made.total == 40
    publish(session, made)
    payouts.fail(session, sent.id, "closed account", key="failed")
    claim(session, made_for, "alice", 40, 40)
    assert held(session, "alice") == {"payable": 60, "paid": 40}
    assert sound(session)


@pytest.mark.parametrize("how_far", ["intended", "published", "claimed"])
def test_a_settlement_whose_money_is_on_its_way_over_a_chain_is_reversed_and_owed_back(
    staffed: Ledger, book: Callable[..., Any], how_far: str
) -> None:
    with staffed.writing() as session:
        made_for = distribute(session)
        run = book(session, {"alice": 3.0, "bob": 1.0}).run.id
        settle(session, run, Terms("pool", Amount(400, ASSET)))
        pay_to(session, "alice")
        made = intend(session, made_for)
        if how_far != "intended":
            publish(session, made)
        if how_far == "claimed":
            claim(session, made_for, "alice", 300, 300)
        settlement.reverse(session, run, "a wrong pool")
        where = {"intended": "publishing", "published": "in_flight", "claimed": "paid"}[how_far]
        assert held(session, "alice") == {where: 300}
        assert balances.balance(session, "receivable:alice", ASSET.code) == 300
        settle(session, run, Terms("pool", Amount(800, ASSET)))
        assert balances.balance(session, "receivable:alice", ASSET.code) == 0
        assert held(session, "alice") == {where: 300, "payable": 300}
        assert sound(session)


def test_what_comes_back_from_a_chain_after_a_reversal_is_payable_beside_the_debt(
    staffed_file: Ledger, book: Callable[..., Any]
) -> None:
    """What comes back from the chain after the reversal is payable, and what is owed is netted from what follows."""
    with staffed_file.writing() as session:
        made_for = distribute(session)
        run = book(session, {"alice": 3.0, "bob": 1.0}).run.id
        settle(session, run, Terms("pool", Amount(400, ASSET)))
        pay_to(session, "alice")
        made = intend(session, made_for)
        settlement.reverse(session, run, "a wrong pool")
        booking.book_abandoned(session, made, "never sent")
        assert held(session, "alice") == {"payable": 300}
        assert balances.balance(session, "receivable:alice", ASSET.code) == 300
        assert sound(session)


def test_entries_of_publications_are_not_reversed_by_hand(file_session: Session) -> None:
    session, made_for = file_session, prepared(file_session, alice=100)
    made = intend(session, made_for)
    finished(session, made)
    claim(session, made_for, "alice", 100, 100)
    kinds = ("publication", "published", "root activated", "claim", "payout address", "distributor")
    query = select(Entry).where(col(Entry.kind).in_(kinds)).order_by(col(Entry.sequence))
    for entry in session.exec(query).all():
        with pytest.raises(ReversalError, match=r"chain|moved nothing"):
            corrections.reverse_entry(session, entry.sequence, "no")


def test_a_contributor_in_an_open_dispute_waits(staffed: Ledger, book: Callable[..., Any]) -> None:
    with staffed.writing() as session:
        made_for = distribute(session)
        run = book(session, {"alice": 3.0, "bob": 1.0}).run.id
        settled = settle(session, run, Terms("pool", Amount(400, ASSET))).settlement
        assert settled is not None
        for who in ("alice", "bob"):
            pay_to(session, who)
        opened = disputes.open_dispute(session, "bob", "alice", settled.entry, Amount(10, ASSET), "e" * 64)
        with pytest.raises(NothingDueError, match=f"alice: dispute {opened.entry} is open"):
            publications.plan(session, made_for, 1)
        disputes.resolve(session, opened.entry, "respondent", "it was not")
        assert intend(session, made_for).total == 400
        assert sound(session)


# Distributors


def test_a_distributor_is_registered_once(session: Session) -> None:
    made = distribute(session)
    assert distribute(session) is made
    assert distributor(session) is made
    assert distributor(session, made.address) is made
    assert distributor(session, f"{CHAIN_ID}:{made.address}") is made
    other = distribute(session, "other")
    assert distributors(session) == [made, other]
    assert distributor(session, 2) is other is distributor(session, "2")
    for which, words in ((None, "there are several"), (7, "there is none"), (contract("nothing"), "there is none")):
        with pytest.raises(DistributorError, match=words):
            distributor(session, which)


REFUSED_DISTRIBUTORS: list[tuple[dict[str, Any], str]] = [
    ({"confirmations": 4}, "registered by entry .* with 3 for its confirmations"),
    ({"name": "new", "code_hash": "ab" * 32}, "0x and 64 lower-case digits"),
    ({"name": "new", "confirmations": 0}, "1 confirmation or more"),
    ({"name": "new", "chain_id": 0}, "a number from 1"),
    ({"name": "new", "activation_delay": -1}, "count from 0"),
]


@pytest.mark.parametrize(("details", "words"), REFUSED_DISTRIBUTORS)
def test_a_distributor_that_cannot_be_is_refused(file_session: Session, details: dict[str, Any], words: str) -> None:
    distribute(file_session)
    with pytest.raises(DistributorError, match=words):
        distribute(file_session, **details)


def test_a_distributor_pays_in_an_asset_of_the_books(file_session: Session) -> None:
    for asset in ("NONE", "nat"):
        with pytest.raises(AssetError, match="no money of this ledger"):
            register_distributor(
                file_session,
                chain_id=1,
                address=contract("a"),
                token=contract("b"),
                asset=asset,
                code_hash=hash_of("code"),
                activation_delay=1,
                first_block=1,
                confirmations=1,
            )


# What was sent


def test_the_end_of_a_publication_commits_to_what_was_sent_for_it(session: Session) -> None:
    made = intend(session, prepared(session))
    see(session, try_it(session, made, nonce=5), 9, "uncle")
    publish(session, made)
    see(session, try_it(session, made, nonce=6), 12)  # seen only afterwards
    assert sound(session)
