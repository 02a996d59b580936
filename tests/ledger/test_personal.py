"""Names lie outside the hashes: they can be erased, and nothing that was proved stops being so."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import text
from sqlmodel import Session

from ledger import erasure, personal, registry, settlement
from ledger.audit import audit
from ledger.database import Ledger
from ledger.erasure import erase
from ledger.errors import DuplicateError, UnknownContributorError
from ledger.models import Contributor, Row
from ledger.money import Amount
from ledger.personal import Opening
from ledger.policies import Terms
from ledger.proofs import log
from ledger.proofs.carrying import carry
from ledger.proofs.checkpoint import sign
from ledger.proofs.note import SignerKey
from ledger.proofs.verification import verify_statement
from ledger.statement import statement
from ledger.valuation import Booked
from tests.ledger.server import CLERK, PASSWORD, Server

NAME = "Zoë Quisenberry-Ramirez"
KEY_SEED = bytes(range(32))


@pytest.fixture
def named(staffed: Ledger, book: Callable[..., Booked]) -> Ledger:
    """A ledger with one more contributor, of a name that nothing else contains, who has been paid."""
    with staffed.writing() as session:
        registry.add_contributor(session, "zq", NAME)
        registry.register_dataset(
            session, "zq", ["a record"], name="a dataset", licence="MIT", consent_given_at="2026-01-01"
        )
        run = book(session, {"zq": 0.5, "alice": 0.25}).run
        settlement.settle(session, run.id, Terms("pool", Amount.parse("100.00 EUR")))
    return staffed


def proved(session: Session) -> str:
    """The contributor's statement with its proofs, as of now."""
    now = log.checkpoint(session)
    carried = carry(session, "zq", sign(now, SignerKey(now.origin, KEY_SEED)), now)
    return json.dumps(statement(session, "zq", now.size).as_json() | {"proofs": carried.model_dump(mode="json")})


def everything(session: Session) -> str:
    """Every column of every row of every table."""
    rows = [
        str(tuple(row))
        for table in Row.metadata.sorted_tables
        for row in session.connection().execute(text(f'SELECT * FROM "{table.name}"'))
    ]
    assert len(rows) > 50
    return "\n".join(rows)


def test_a_commitment_is_the_hash_of_the_salt_and_the_name() -> None:
    salt, commitment = personal.commit(NAME)
    assert commitment == hashlib.sha256(bytes.fromhex(salt) + NAME.encode()).hexdigest()
    assert len(bytes.fromhex(salt)) == 32
    assert personal.commit(NAME)[0] != salt
    assert Opening(NAME, salt).commitment == commitment


@pytest.mark.parametrize("salt", ["", "00", "z" * 64, "0" * 63, "0" * 66, "A" * 64])
def test_what_is_no_salt_opens_nothing(salt: str) -> None:
    assert Opening(NAME, salt).commitment is None


def test_an_entry_holds_the_commitment_and_no_name(named: Ledger) -> None:
    with named.reading() as session:
        row = session.get(Contributor, "zq")
        opening = personal.opening(session, "zq")
        assert row is not None
        assert opening is not None
        assert (opening.name, opening.commitment) == (NAME, row.name_commitment)
        assert NAME not in str(session.connection().execute(text("SELECT * FROM entries")).all())
        assert opening.salt not in str(session.connection().execute(text("SELECT * FROM entries")).all())


def test_an_erased_name_is_in_no_table_any_more_and_every_proof_and_audit_holds(named: Ledger) -> None:
    with named.reading() as session:
        before, checkpoint = proved(session), log.checkpoint(session)
        opening = personal.opening(session, "zq")
        assert NAME in everything(session)
    assert opening is not None
    erased = erase(named, "zq")
    assert (erased.found, erased.forgotten) == (True, True)
    with named.reading() as session:
        for trace in (NAME, "Quisenberry", opening.salt):
            assert trace not in everything(session)
        assert log.checkpoint(session) == checkpoint
        assert audit(session, checkpoint=checkpoint).ok
        after = proved(session)
    key = SignerKey(checkpoint.origin, KEY_SEED).verifier
    assert verify_statement(before, key=key).ok, "a statement from before shows the name, and still verifies"
    assert verify_statement(after, key=key).ok
    assert NAME in json.loads(before)["name"]
    assert (json.loads(after)["name"], json.loads(after)["name_salt"]) == (None, None)
    shown = {name for name in json.loads(before) if json.loads(before)[name] != json.loads(after)[name]}
    assert shown <= {"name", "name_salt", "made_at", "proofs"}


def test_another_name_does_not_fit_the_commitment(named: Ledger) -> None:
    with named.reading() as session:
        document = json.loads(proved(session))
        key = SignerKey(registry.origin(session), KEY_SEED).verifier
    found = verify_statement(json.dumps({**document, "name": "Somebody Else"}), key=key)
    assert [fault for fault in found.faults if "'Somebody Else' is not the name" in fault]


def test_books_go_on_after_a_name_was_erased(named: Ledger, book: Callable[..., Booked]) -> None:
    erase(named, "zq")
    assert not erase(named, "zq").found
    with named.writing() as session:
        run = book(session, {"zq": 0.5}).run
        settlement.settle(session, run.id, Terms("pool", Amount.parse("1.00 EUR")))
        assert personal.name_of(session, "zq") is None
        with pytest.raises(DuplicateError):
            registry.add_contributor(session, "zq", NAME)  # the id stays theirs
    with named.reading() as session:
        assert audit(session).ok


def test_nobody_unknown_is_erased(staffed: Ledger) -> None:
    with pytest.raises(UnknownContributorError):
        erase(staffed, "nobody")


def test_the_bytes_of_an_erased_name_are_gone_from_the_files(staffed_file: Ledger) -> None:
    with staffed_file.writing() as session:
        registry.add_contributor(session, "zq", NAME)
        for number in range(40):  # enough for the row to move from page to page
            registry.add_contributor(session, f"other-{number}", f"Other {number} " + "x" * 200)
    path = Path(staffed_file.place)
    assert any(NAME.encode() in file.read_bytes() for file in path.parent.glob(f"{path.name}*"))
    assert erase(staffed_file, "zq").forgotten
    for file in path.parent.glob(f"{path.name}*"):
        assert NAME.encode() not in file.read_bytes(), file


def test_what_another_program_deleted_is_forgotten_when_it_is_erased_again(staffed_file: Ledger) -> None:
    with staffed_file.writing() as session:
        registry.add_contributor(session, "zq", NAME)
    path = Path(staffed_file.place)
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA secure_delete = OFF")
        other.execute("DELETE FROM personal_data WHERE contributor = 'zq'")
    other.close()
    assert any(NAME.encode() in file.read_bytes() for file in path.parent.glob(f"{path.name}*"))
    assert not erase(staffed_file, "zq").found
    assert not any(NAME.encode() in file.read_bytes() for file in path.parent.glob(f"{path.name}*"))


def test_who_does_not_own_the_ledger_erases_a_name_and_says_that_its_bytes_are_left(server: Server) -> None:
    database = server.make()
    try:
        Ledger.create(server.url(database), application_role=CLERK).close()
        with Ledger.open(server.url(database, f"{CLERK}:{quote(PASSWORD)}")) as books:
            books.transact(lambda session: registry.add_contributor(session, "zq", NAME))
            erased = erase(books, "zq")
            with books.reading() as session:
                assert personal.name_of(session, "zq") is None
        assert (erased.found, erased.forgotten) == (True, False)
        with Ledger.open(server.url(database)) as books:
            assert erase(books, "zq").forgotten
    finally:
        server.drop(database)


def test_while_somebody_reads_an_older_copy_the_erasure_says_that_it_is_not_complete(
    staffed_file: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "PATIENCE_SECONDS", 0)
    reader = sqlite3.connect(staffed_file.place)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM personal_data").fetchone()
    try:
        erased = erase(staffed_file, "alice")
    finally:
        reader.close()
    assert (erased.found, erased.forgotten) == (True, False)
    assert erase(staffed_file, "alice").forgotten
