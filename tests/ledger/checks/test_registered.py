import pytest
from sqlmodel import Session, select

from ledger import estates, personal, registry
from ledger.checks import registry_faults
from ledger.database import Ledger
from ledger.models import Contributor, Estate, Group, PersonalData, RegistryRow
from tests.ledger.test_disputes import claim, settled


def faults(session: Session) -> list[str]:
    return [f"{fault.check}: {fault.detail}" for fault in registry_faults(session)]


def test_whatever_was_registered_is_what_its_entry_says(staffed: Ledger) -> None:
    with staffed.writing() as session:
        estates.set_estate(session, "bob", {"carol": 1})
        claim(session, settled(session, bob=500))
        assert faults(session) == []


def renamed(session: Session, name: str, salt: str) -> None:
    """A contributor whose entry commits to another name."""
    _, commitment = personal.commit("Dora")
    registry.register(session, Contributor(id="dora", name_commitment=commitment, entry=0))
    session.add(PersonalData(contributor="dora", name=name, salt=salt))
    session.flush()


@pytest.mark.parametrize(
    ("name", "salt", "reason"),
    [
        ("Eve", "0" * 64, "contributor 'dora': the name and salt give "),
        ("Dora", "0" * 64, "contributor 'dora': the name and salt give "),
        ("Dora", "no salt", "contributor 'dora': the salt is none"),
    ],
)
def test_a_name_that_its_entry_does_not_commit_to_is_found(staffed: Ledger, name: str, salt: str, reason: str) -> None:
    with staffed.writing() as session:
        renamed(session, name, salt)
        (fault,) = faults(session)
        assert fault.startswith(f"names: {reason}")


def test_an_erased_name_is_no_fault(staffed: Ledger) -> None:
    with staffed.writing() as session:
        registry.add_contributor(session, "dora", "Dora")
        assert session.exec(select(PersonalData.name).where(PersonalData.contributor == "dora")).one() == "Dora"
    with staffed.writing() as session:
        personal.erase(session, "dora")
    with staffed.reading() as session:
        assert personal.name_of(session, "dora") is None
        assert faults(session) == []


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (Estate(contributor="alice", payees='{"nobody":1}', entry=0), "estate of 'alice', entry {}: names 'nobody'"),
        (Estate(contributor="alice", payees="nonsense", entry=0), "estate of 'alice', entry {}: 'nonsense' cannot be"),
        (Group(id="alice", members='["bob","nobody"]', why="x", entry=0), "group 'alice', entry {}: names 'nobody'"),
        (Group(id="alice", members="[7]", why="x", entry=0), "group 'alice', entry {}: names 7"),
        (Group(id="alice", members="7", why="x", entry=0), "group 'alice', entry {}: '7' cannot be read"),
    ],
)
def test_payees_and_members_who_are_not_registered_are_named(staffed: Ledger, row: RegistryRow, reason: str) -> None:
    with staffed.writing() as session:
        made = registry.register(session, type(row)(**row.model_dump()))
        (fault,) = faults(session)
        assert fault.startswith("registry: " + reason.format(made.entry))
