import pytest
from sqlmodel import Session

from ledger import estates, journal, registry
from ledger.database import Ledger
from ledger.errors import EstateError, UnknownContributorError


def heirs(session: Session, *names: str) -> None:
    for name in names or ("heir-1", "heir-2"):
        registry.add_contributor(session, name)


def test_an_estate_holds_from_its_entry_on_and_is_given_back_by_another(staffed: Ledger) -> None:
    with staffed.writing() as session:
        heirs(session)
        assert estates.estate_of(session, "alice") == {}
        first = estates.set_estate(session, "alice", {"heir-2": 1, "heir-1": 2}, reason="a will")
        second = estates.set_estate(session, "alice", {})
        assert estates.estate_of(session, "alice") == {}
        assert estates.estate_of(session, "alice", before=first.entry) == {}
        assert list(estates.estate_of(session, "alice", before=second.entry).items()) == [("heir-1", 2), ("heir-2", 1)]
        assert journal.entry(session, first.entry).reason == "a will"


def test_all_estates_are_those_that_name_a_payee(staffed: Ledger) -> None:
    with staffed.writing() as session:
        heirs(session)
        estates.set_estate(session, "alice", {"heir-1": 2, "heir-2": 1})
        estates.set_estate(session, "bob", {"bob": 1, "heir-1": 1})
        back = estates.set_estate(session, "alice", {})
        both = {"alice": {"heir-1": 2, "heir-2": 1}, "bob": {"bob": 1, "heir-1": 1}}
        assert estates.estates(session, before=back.entry) == both
        assert estates.estates(session) == {"bob": both["bob"]}


def test_what_holds_already_is_not_said_again(staffed: Ledger) -> None:
    with staffed.writing() as session:
        heirs(session)
        first = estates.set_estate(session, "alice", {"heir-1": 2, "heir-2": 1})
        head = journal.head(session)
        assert estates.set_estate(session, "alice", {"heir-2": 1, "heir-1": 2}).entry == first.entry
        assert journal.head(session) == head
        estates.set_estate(session, "alice", {})
        assert estates.set_estate(session, "alice", {"heir-1": 2, "heir-2": 1}).entry > first.entry


@pytest.mark.parametrize(
    ("contributor", "payees", "error", "reason"),
    [
        ("nobody", {"heir-1": 1}, UnknownContributorError, "'nobody'"),
        ("alice", {"nobody": 1}, UnknownContributorError, "'nobody'"),
        ("alice", {"heir-1": 0}, EstateError, "0 parts"),
        ("alice", {"heir-1": -1}, EstateError, "-1 parts"),
        ("alice", {"heir-1": True}, EstateError, "True parts"),
        ("alice", {"heir-1": 10**9 + 1}, EstateError, "no whole number"),
        ("alice", {"bob": 1}, EstateError, "'bob' has payees too"),
        ("heir-2", {"heir-1": 1}, EstateError, "payee of 'bob'"),
    ],
)
def test_an_estate_that_cannot_be_is_refused(
    staffed: Ledger, contributor: str, payees: dict[str, int], error: type[Exception], reason: str
) -> None:
    with staffed.writing() as session:
        heirs(session)
        estates.set_estate(session, "bob", {"heir-2": 1})
        with pytest.raises(error, match=reason):
            estates.set_estate(session, contributor, payees)
