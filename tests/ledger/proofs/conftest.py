from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session

from ledger import bookkeeping, disputes, estates, payouts, registry, settlement
from ledger.database import Ledger
from ledger.money import Amount, Asset
from ledger.policies import Holdback, Terms
from ledger.proofs import log
from ledger.proofs.carrying import carry
from ledger.proofs.checkpoint import Checkpoint, sign
from ledger.proofs.note import SignerKey
from ledger.proofs.statement_proof import PROOFS
from ledger.statement import statement
from ledger.valuation import Booked
from tests.ledger.conftest import Template, booking, copied_file, staff

PEOPLE = ("alice", "bob", "carol", "dora")
SEED = bytes(range(32))


@dataclass(frozen=True)
class World:
    """A ledger in which much has happened, its key, and a checkpoint from before the half of it."""

    books: Ledger
    key: SignerKey
    older: Checkpoint

    def statement(self, contributor: str, *, older: Checkpoint | None = None) -> dict[str, Any]:
        """A statement with its proofs, as of now, as a file holds it."""
        with self.books.reading() as session:
            return proved_statement(session, contributor, self.key, older)


def proved_statement(
    session: Session, contributor: str, key: SignerKey, older: Checkpoint | None = None
) -> dict[str, Any]:
    """A contributor's statement as of now, with its proofs."""
    now = log.checkpoint(session)
    carried = carry(session, contributor, sign(now, key), now, older)
    made = statement(session, contributor, now.size).as_json() | {PROOFS: carried.model_dump(mode="json")}
    return json.loads(json.dumps(made))  # type: ignore[no-any-return]


def live(session: Session, book: Callable[..., Booked]) -> None:
    """Settlements of several kinds, money held, disputed, paid, converted and inherited, and mistakes put right."""
    tasks = {"tasks": ["sport", "news"], "weights": [0.25, 0.75], "house": [0.125, 0], "gap": [0, 0]}
    first = book(session, {"alice": [0.5, 0.5], "bob": [-0.25, 0.25]}, rows={"alice": 6, "bob": 2}, **tasks).run
    holdback = Holdback(1000, "2027-01-01T00:00:00.000000Z")
    paid = Terms("pool", Amount.parse("100.00 EUR"), fee_basis_points=250, policies=(holdback,))
    made = settlement.settle(session, first.id, paid).settlement
    assert made is not None
    worse = book(session, {"alice": 1.0, "bob": -0.5, "carol": 0.0}, house=[0.25]).run
    priced = settlement.settle(session, worse.id, Terms("rate", Amount.parse("10.00 EUR"), "carry")).settlement
    assert priced is not None
    claim = disputes.open_dispute(session, "bob", "alice", made.entry, Amount.parse("5.00 EUR"), "e" * 64)
    disputes.resolve(session, claim.entry, "claimant", "the records were bob's")
    disputes.open_dispute(session, "alice", None, priced.entry, Amount.parse("0.50 EUR"), "d" * 64)


def live_on(session: Session, book: Callable[..., Booked]) -> None:
    """What happens after the checkpoint that was kept."""
    registry.add_contributor(session, "dora", "Dora")
    estates.set_estate(session, "carol", {"carol": 1, "dora": 2})
    both = [book(session, {"carol": 1.0, "alice": 0.25}).run.id, book(session, {"carol": 0.5}).run.id]
    tokens = Terms("pool", Amount.parse("0.000000000000000700 ETHX", exponent=18))
    settlement.settle(session, both, tokens)
    settlement.reverse(session, both, "the wrong pool")
    settlement.settle(session, both, Terms("pool", Amount.parse("0.000000000000000007 ETHX", exponent=18)))
    payouts.start(session, "alice", "EUR", 700, key="payout:1", reference="SEPA 4711")
    bookkeeping.convert(
        session, "payable:alice", Amount.parse("2.00 EUR"), Asset.named("USD"), "1.25", key="conversion:1"
    )
    fingerprint = registry.datasets(session, "bob")[0].fingerprint
    registry.withdraw_consent(session, fingerprint, "2026-02-01")


def lived(books: Ledger, book: Callable[..., Booked]) -> World:
    """Both halves, and a checkpoint in between."""
    with books.writing() as session:
        live(session, book)
        older = log.checkpoint(session)
    with books.writing() as session:
        live_on(session, book)
    return World(books, SignerKey(older.origin, SEED), older)


@pytest.fixture
def world(staffed: Ledger, book: Callable[..., Booked]) -> World:
    """That ledger, on each database."""
    return lived(staffed, book)


@pytest.fixture(scope="session")
def told(template_file: tuple[Path, Template], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """That ledger in a file, made once for tests that read it only."""
    folder = tmp_path_factory.mktemp("told")
    with copied_file(template_file, folder) as books:
        yield lived(staff(books), booking(folder))


@pytest.fixture(scope="session")
def made_statements(told: World) -> dict[str, dict[str, Any]]:
    return {name: told.statement(name, older=told.older) for name in PEOPLE}


@pytest.fixture
def statements(made_statements: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Everybody's statement with its proofs, which continue the older checkpoint; to be changed at will."""
    return copy.deepcopy(made_statements)
