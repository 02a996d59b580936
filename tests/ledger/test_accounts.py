import pytest
from sqlmodel import Session

from ledger import accounts, journal, registry
from ledger.accounts import KINDS, account_name, split_name
from ledger.database import Ledger
from ledger.errors import AccountError
from ledger.lines import credit, debit
from ledger.models import Account
from ledger.money import Asset


def move(session: Session, *names: str, amount: int = 5) -> int:
    """Credit each of these accounts from the buyer; the entry's number."""
    registry.use_asset(session, Asset("EUR", 2))
    lines = [debit("buyer", "EUR", amount * len(names)), *(credit(name, "EUR", amount) for name in names)]
    key = f"move {journal.head(session)[0]}"
    return journal.post(session, kind="test", subject="x", key=key, payload={}, lines=lines).entry.sequence


@pytest.mark.parametrize("kind", KINDS)
def test_every_kinds_name_can_be_taken_apart_again(kind: str) -> None:
    owner = "alice" if KINDS[kind].owned else None
    assert split_name(account_name(kind, owner)) == (kind, owner)


@pytest.mark.parametrize(
    "name", ["", "purse", "payable", "payable:", "escrow:", "escrow:alice", ":alice", "Payable:alice"]
)
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(AccountError):
        split_name(name)


def test_what_is_set_aside_lies_on_the_credit_side_and_never_below_nothing() -> None:
    pending = {name: kind for name, kind in KINDS.items() if kind.pending}
    assert set(pending) == {"holdback", "vesting", "stopped", "disputed", "house_disputed", "publishing", "in_flight"}
    assert {(kind.normal_side, kind.floor) for kind in pending.values()} == {("credit", 0)}


def test_an_account_is_opened_by_the_first_entry_that_touches_it_as_its_kind_says(staffed: Ledger) -> None:
    with staffed.writing() as session:
        first = move(session, "payable:alice", "house")
        move(session, "payable:alice")
        opened = {row.name: row for row, _ in accounts.accounts(session)}
        assert opened["payable:alice"] == Account(
            name="payable:alice",
            commodity="EUR",
            kind="payable",
            contributor="alice",
            normal_side="credit",
            floor=0,
            entry=first,
        )
        assert (opened["house"].contributor, opened["house"].floor, opened["house"].entry) == (None, None, first)
        assert opened["buyer"].normal_side == "debit"


def test_accounts_are_listed_with_what_they_hold_or_only_a_contributors(staffed: Ledger) -> None:
    with staffed.writing() as session:
        move(session, "payable:alice", "payable:bob", "house")
        move(session, "payable:alice")
        found = [(row.name, position.balance, position.state) for row, position in accounts.accounts(session)]
        assert sorted(found) == [
            ("buyer", 20, "open"),
            ("house", 5, "open"),
            ("payable:alice", 10, "open"),
            ("payable:bob", 5, "open"),
        ]
        assert [row.name for row, _ in accounts.accounts(session, contributor="bob")] == ["payable:bob"]


def test_positions_of_more_accounts_than_a_query_takes_are_all_found(staffed: Ledger) -> None:
    with staffed.writing() as session:
        names = [f"c{number}" for number in range(2 * accounts.BATCH + 1)]
        for name in names:
            registry.add_contributor(session, name)
        wanted = [f"payable:{name}" for name in names]
        move(session, *wanted, amount=3)
        found = accounts.positions(session, [(name, "EUR") for name in [*wanted, "payable:alice", *wanted]])
        assert {name: position.balance for (name, _), position in found.items()} == dict.fromkeys(wanted, 3)


def test_an_account_that_nobody_opened_is_not_there(staffed: Ledger) -> None:
    with staffed.reading() as session:
        with pytest.raises(AccountError, match="has not been opened in EUR"):
            accounts.account(session, "payable:alice", "EUR")
        with pytest.raises(AccountError, match="no kind of account"):
            accounts.account(session, "purse", "EUR")
        assert accounts.state(session, "payable:alice", "EUR") == "open"
