from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from ledger import journal, registry
from ledger.chain.publisher import Publisher
from ledger.database import Ledger
from ledger.lines import credit, debit
from ledger.money import Asset
from tests.ledger.chain.anvil import Anvil
from tests.ledger.chain.conftest import anvil_world, running_anvil, world  # noqa: F401
from tests.ledger.chain.world import CONTRIBUTORS, DELAY, World
from tests.ledger.cli.conftest import Ran, Run

PASSWORD = "correct horse"
PAYABLE = {"alice": 3_000_001, "bob": 2_000_000, "carol": 1_000_000}
ASSET = Asset.named("DUSD", 6)


@dataclass
class Keyring:
    """Keystores of the keys of a world, with a password that nobody has to derive for long."""

    world: World
    folder: Path
    made: dict[str, Path] = field(default_factory=dict)

    def options(self, who: str) -> list[str]:
        """How a command is told to sign with somebody's key."""
        if who not in self.made:
            account = Account.from_key(self.world.keys[who]._account.key)
            self.made[who] = self.folder / f"{who}.keystore"
            self.made[who].write_text(json.dumps(Account.encrypt(account.key, PASSWORD, kdf="pbkdf2", iterations=2)))
        return ["--keystore", str(self.made[who]), "--password-file", str(self.folder / "password")]


@pytest.fixture
def keyring(world: World, tmp_path: Path) -> Keyring:  # noqa: F811
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    return Keyring(world, tmp_path)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What mines at once needs not be waited for long."""
    sleep = time.sleep

    def blink(seconds: float) -> None:
        sleep(min(seconds, 0.02))

    monkeypatch.setattr(time, "sleep", blink)
    monkeypatch.setitem(Publisher.__init__.__kwdefaults__, "wait", blink)


@pytest.fixture
def rpc(world: World, running_anvil: Anvil, monkeypatch: pytest.MonkeyPatch) -> str:  # noqa: F811
    monkeypatch.setenv("GHOSTLEDGER_RPC", running_anvil.url)
    return running_anvil.url


@pytest.fixture
def owed(run: Run, tmp_path: Path) -> Iterator[Ledger]:
    """A ledger in the folder of the commands that owes something to three contributors."""
    with Ledger.create(tmp_path / "ghostledger.db", origin="chain.example/books") as books:
        with books.writing() as session:
            registry.use_asset(session, ASSET)
            for who in CONTRIBUTORS:
                registry.add_contributor(session, who)
        owe(books, PAYABLE)
        yield books


def owe(books: Ledger, amounts: dict[str, int]) -> None:
    """Make amounts payable, minor units."""
    lines = [credit(f"payable:{who}", ASSET.code, minor) for who, minor in amounts.items()]
    lines.append(debit("buyer", ASSET.code, sum(amounts.values())))
    with books.writing() as session:
        key = f"owed {journal.head(session)[0]}"
        journal.post(session, kind="example", subject="test", key=key, payload={}, lines=lines)


@pytest.fixture
def deployed(owed: Ledger, world: World, rpc: str, keyring: Keyring, ok: Run) -> dict[str, Any]:  # noqa: F811
    """A funded distributor, made by the command."""
    roles = [word for role in ("owner", "publisher", "guardian") for word in (f"--{role}", world.address(role))]
    words = [*roles, "--token", world.token.address, "--delay", str(DELAY), "--confirmations", "2"]
    made: dict[str, Any] = ok("chain deploy DUSD --json", *words, *keyring.options("owner")).json
    world.send("owner", world.token.address, world.token.mint(made["address"], 10**12))
    return made


@pytest.fixture
def addressed(deployed: dict[str, Any], world: World, keyring: Keyring, ok: Run) -> dict[str, Any]:  # noqa: F811
    """The same, with a payout address for each contributor, set by the commands."""
    for who in CONTRIBUTORS:
        set_address(ok, keyring, who, world.address(who), world.chain_id)
    return deployed


def set_address(ok: Callable[..., Ran], keyring: Keyring, who: str, address: str, chain_id: int) -> Ran:
    """A contributor's first address, signed by its key from the files that the commands write."""
    words = [who, address, "--chain-id", str(chain_id)]
    ok("chain address message", *words, "--out", who)
    signature = ok("chain address sign", f"{who}.ownership.json", *keyring.options(who)).out.strip()
    return ok("chain address set", *words, "--signature", signature)
