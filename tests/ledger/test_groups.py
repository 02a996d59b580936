import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlmodel import Session

from ledger import balances, disputes, estates, groups, journal, registry
from ledger.audit import audit
from ledger.database import Ledger
from ledger.errors import (
    DuplicateError,
    EstateError,
    ForeignDataError,
    GroupError,
    IdentifierError,
    ManifestError,
    NoConsentError,
    UnknownContributorError,
)
from ledger.money import Amount
from ledger.policies import StopPayment, Terms
from ledger.settlement import settle
from ledger.valuation import Booked

Book = Callable[..., Booked]
WHY = "the same texts"


def fingerprints(session: Session, *names: str) -> list[str]:
    return [dataset.fingerprint for name in names for dataset in registry.datasets(session, name)]


def payable(session: Session, *names: str) -> list[int]:
    return [balances.balance(session, f"payable:{name}", "EUR") for name in names]


def pool(session: Session, run: str) -> None:
    settle(session, run, Terms("pool", Amount.parse("90.00 EUR")))


def test_a_group_is_a_contributor_whose_estate_is_its_members(staffed: Ledger) -> None:
    with staffed.writing() as session:
        made = groups.create_group(session, "twins", ["bob", "alice"], WHY)
        assert registry.contributor(session, "twins").id == "twins"
        assert groups.members_of(session, "twins") == ["alice", "bob"]
        assert groups.members_of(session, "alice") == []
        assert estates.estate_of(session, "twins") == {"alice": 1, "bob": 1}
        entry = journal.entry(session, made.entry)
        assert (entry.kind, entry.subject, json.loads(entry.payload)["why"]) == ("group", "twins", WHY)
        assert groups.groups(session) == [made] == [groups.group(session, "twins")]
        assert groups.group_of(session, ["bob", "alice"]) == made
        assert groups.group_of(session, ["bob", "carol"]) is None


def test_copyists_in_a_group_are_paid_together_what_one_player_is_worth(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        groups.create_group(session, "twins", ["alice", "bob"], WHY)
        data = {"twins": fingerprints(session, "alice", "bob"), "carol": fingerprints(session, "carol")}
        apart = book(session, {"alice": 0.5, "bob": 0.5, "carol": 0.5}).run
        pool(session, apart.id)
        assert payable(session, "alice", "bob", "carol", "twins") == [3000, 3000, 3000, 0]
    with staffed.writing() as session:
        together = book(session, {"twins": 0.5, "carol": 0.5}, data=data)
        assert [part.datasets for part in together.valuation.contributors] == [data["twins"], data["carol"]]
        pool(session, together.run.id)
        assert payable(session, "alice", "bob", "carol", "twins") == [3000 + 2250, 3000 + 2250, 3000 + 4500, 0]
    with staffed.reading() as session:
        assert audit(session).ok


def test_members_may_agree_on_other_parts(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        groups.create_group(session, "twins", {"alice": 2, "bob": 1}, WHY)
        data = {"twins": fingerprints(session, "alice", "bob")}
        pool(session, book(session, {"twins": 0.5}, data=data).run.id)
        assert payable(session, "alice", "bob") == [6000, 3000]
        estates.set_estate(session, "twins", {"alice": 1, "carol": 1})
        pool(session, book(session, {"twins": 0.5}, data=data).run.id)
        assert payable(session, "alice", "bob", "carol") == [10_500, 3000, 4500]


def test_consent_is_still_needed_for_each_members_dataset(staffed: Ledger, book: Book) -> None:
    with staffed.writing() as session:
        groups.create_group(session, "twins", ["alice", "bob"], WHY)
        data = {"twins": fingerprints(session, "alice", "bob")}
        registry.withdraw_consent(session, data["twins"][1], "2026-02-01")
        run = book(session, {"twins": 0.5}, data=data).run
        with pytest.raises(NoConsentError) as caught:
            pool(session, run.id)
        assert caught.value.fingerprint == data["twins"][1]


@pytest.mark.parametrize(
    ("named", "error"),
    [
        ({"twins": ["carol"], "carol": []}, ForeignDataError),
        ({"twins": ["alice"], "carol": ["bob"]}, ForeignDataError),
        ({"twins": ["alice"], "alice": ["alice"]}, ManifestError),
        ({"twins": ["alice", "alice"]}, ManifestError),
    ],
)
def test_a_run_credits_a_group_with_its_members_data_alone_and_once(
    staffed: Ledger, book: Book, named: dict[str, list[str]], error: type[Exception]
) -> None:
    with staffed.writing() as session:
        groups.create_group(session, "twins", ["alice", "bob"], WHY)
        data = {name: fingerprints(session, *owners) for name, owners in named.items()}
        with pytest.raises(error):
            book(session, dict.fromkeys(named, 0.5), data=data)


def test_the_same_group_again_is_the_first(staffed: Ledger) -> None:
    with staffed.writing() as session:
        first = groups.create_group(session, "twins", ["alice", "bob"], WHY)
        head = journal.head(session)
        assert groups.create_group(session, "twins", ["bob", "alice"], WHY).entry == first.entry
        for members, why in ((["alice", "carol"], WHY), (["alice", "bob"], "another reason")):
            with pytest.raises(DuplicateError, match="'twins'"):
                groups.create_group(session, "twins", members, why)
        assert journal.head(session) == head


@pytest.mark.parametrize(
    ("id", "members", "why", "error", "reason"),
    [
        ("twins", ["alice"], WHY, GroupError, "two members"),
        ("twins", [], WHY, GroupError, "two members"),
        ("twins", ["alice", "alice"], WHY, GroupError, "twice"),
        ("twins", ["alice", "bob"], "  ", GroupError, "reason"),
        ("twins", ["alice", "nobody"], WHY, UnknownContributorError, "'nobody'"),
        ("twins", ["alice", "others"], WHY, GroupError, "'others' is a group itself"),
        ("carol", ["alice", "bob"], WHY, DuplicateError, "contributor 'carol'"),
        ("The Twins", ["alice", "bob"], WHY, IdentifierError, "The Twins"),
        ("twins", ["alice", "dora"], WHY, EstateError, "'dora' has payees too"),
        ("twins", {"alice": 1, "bob": 0}, WHY, EstateError, "0 parts"),
    ],
)
def test_a_group_that_cannot_be_is_refused_and_leaves_nothing(
    staffed: Ledger, id: str, members: Any, why: str, error: type[Exception], reason: str
) -> None:
    with staffed.writing() as session:
        registry.add_contributor(session, "dora")
        estates.set_estate(session, "dora", {"carol": 1})
        groups.create_group(session, "others", ["bob", "carol"], WHY)
        before = journal.head(session)
        with pytest.raises(error, match=reason):
            groups.create_group(session, id, members, why)
        assert journal.head(session) == before
        assert "twins" not in [row.id for row in registry.contributors(session)]


def test_a_group_never_goes_without_payees_and_a_member_is_paid_through_it(staffed: Ledger) -> None:
    with staffed.writing() as session:
        groups.create_group(session, "twins", ["alice", "bob"], WHY)
        with pytest.raises(EstateError, match="nobody of its own"):
            estates.set_estate(session, "twins", {})
        with pytest.raises(EstateError, match="payee of 'twins'"):
            estates.set_estate(session, "alice", {"carol": 1})
        with pytest.raises(EstateError, match="'twins' has payees too"):
            estates.set_estate(session, "alice", {"twins": 1})
        with pytest.raises(GroupError, match="not registered"):
            groups.group(session, "alice")


def test_a_dispute_of_a_member_stops_the_group_and_a_payees_stops_nobody(staffed: Ledger, book: Book) -> None:
    amount = Amount.parse("90.00 EUR")
    stopping = Terms("pool", amount, policies=(StopPayment(),))
    with staffed.writing() as session:
        first = settle(session, book(session, {"alice": 0.5}).run.id, Terms("pool", amount)).settlement
        assert first is not None
        opened = disputes.open_dispute(session, "carol", "alice", first.entry, Amount.parse("0.01 EUR"), "e" * 64)
        estates.set_estate(session, "bob", {"carol": 1})
        (of_bob,) = settle(session, book(session, {"bob": 0.5}).run.id, stopping).outcome.payouts
        assert of_bob.paid == 9000
        estates.set_estate(session, "bob", {})
        groups.create_group(session, "twins", ["alice", "bob"], WHY)
        twins = book(session, {"twins": 0.5}, data={"twins": fingerprints(session, "alice", "bob")}).run
        (of_twins,) = settle(session, twins.id, stopping).outcome.payouts
        assert [(part.home, part.reason) for part in of_twins.parts] == [("stopped", f"dispute {opened.entry}")]
        assert audit(session).ok
