from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.ledger.chain.world import World
from tests.ledger.cli.chain.conftest import Keyring
from tests.ledger.cli.conftest import Run


def entries(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "ghostledger.db")) as connection:
        return int(connection.execute("SELECT count FROM head").fetchone()[0])


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("ghostledger.db-"))


SIGNING = "--keystore publisher.keystore --password-file password"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (f"chain publish --rpc http://127.0.0.1:1 {SIGNING}", "127.0.0.1:1 cannot be reached"),
        (f"chain publish --rpc nonsense {SIGNING}", "http"),
        ("chain publish", "either --keystore FILE or --signer URL"),
        (f"chain publish {SIGNING} --signer http://127.0.0.1:1", "either --keystore FILE or --signer URL"),
        ("chain publish --signer http://127.0.0.1:1", "--signer-address"),
        (f"chain publish {SIGNING} --fee-cap 0", "'0' is no number of gwei"),
        (f"chain publish {SIGNING} --fee-cap 1e3", "'1e3' is no number of gwei"),
        (f"chain publish {SIGNING}", "alice: no payout address on chain 31337"),
        (f"chain publish {SIGNING} --distributor 7", "there is none"),
        ("chain publish --keystore publisher.keystore --password-file wrong", "the password is wrong"),
        ("chain publish --keystore publisher.keystore", "--password-file"),
        ("chain publish --keystore nowhere --password-file password", "nowhere"),
        ("chain publish --keystore owner.keystore --password-file password", "may not submit roots"),
        ("chain key publisher.keystore --password-file password", "there is a file already"),
        ("chain key new.keystore --password-file empty", "an empty password"),
        ("chain deploy DUSD", "--token, --owner, --publisher, --guardian"),
        ("chain deploy DUSD --at PUBLISHER --dry-run", "leave out --dry-run"),
        ("chain deploy DUSD --at PUBLISHER --owner PUBLISHER", "leave out --owner"),
        ("chain deploy EUR --at 0x0000000000000000000000000000000000000001", "no contract at this address"),
        ("chain deploy DUSD --at 0x52908400098527886e0f7030069857d2e4169ee7", "checksum"),
        ("chain proof", "--folder"),
        ("chain proof alice", "nothing is published yet"),
        ("chain address message alice 0x12 --chain-id 1 --out x", "0x12"),
        ("chain address sign password", "--keystore"),
        (f"chain address sign password {SIGNING}", "no JSON"),
        (f"chain address sign strange {SIGNING}", "is not signed"),
        ("chain address set alice PUBLISHER --chain-id 1 --signature 0xzz", "no signature"),
        ("chain address set alice PUBLISHER --chain-id 1 --signature nowhere", "nowhere"),
        ("chain address set alice PUBLISHER --chain-id 31337 --signature 0x00", "signature"),
        ("chain address set nobody PUBLISHER --chain-id 31337 --signature 0x00", "nobody"),
        ("chain address set alice PUBLISHER --chain-id 1 --signature 0x00 --contract-wallet", "chain"),
        ("chain operator add olga 0x12", "0x12"),
        ("chain operator remove olga", "none of this name"),
        ("chain claim nowhere", "nowhere"),
        ("chain claim strange", "no proof of a claim"),
        (f"chain cancel --reason x {SIGNING}", "no publication is open"),
        ("chain watch --distributor 0x12", "0x12"),
        ("chain reconcile --rpc http://127.0.0.1:1", "cannot be reached"),
        ("audit --rpc http://127.0.0.1:1", "cannot be reached"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line_and_writes_nothing(
    deployed: dict[str, Any], world: World, keyring: Keyring, run: Run, tmp_path: Path, line: str, reason: str
) -> None:
    for who in ("publisher", "owner"):
        keyring.options(who)
    for name, text in (("wrong", "guess\n"), ("empty", "\n"), ("strange", json.dumps({"primaryType": "Permit"}))):
        (tmp_path / name).write_text(text)
    before = entries(tmp_path), files(tmp_path)
    assert reason in run(line.replace("PUBLISHER", world.address("publisher"))).refusal
    assert (entries(tmp_path), files(tmp_path)) == before


def test_a_proof_for_more_than_was_earned_is_refused_before_anybody_signs(
    addressed: dict[str, Any], world: World, keyring: Keyring, run: Run, ok: Run, tmp_path: Path
) -> None:
    signing = keyring.options("publisher")
    assert "a cap of 1 wei per gas is too low" in run("chain publish --fee-cap 0.000000001", *signing).refusal
    ok("chain publish --until sent", *signing)
    world.chain.mine(2)
    ok("chain watch")
    proof = json.loads(ok("chain proof alice").out)
    for name, changed in (("more", {"cumulative": "9"}), ("other", {"account": world.address("bob")})):
        (tmp_path / name).write_text(json.dumps({**proof, **changed}))
        assert "does not lead to its root" in run(f"chain claim {name}", *keyring.options("alice")).refusal
    (tmp_path / "early").write_text(json.dumps(proof))
    assert "becomes active at" in run("chain claim early", *keyring.options("alice")).refusal


def test_a_token_of_other_decimals_than_the_asset_is_refused(
    deployed: dict[str, Any], run: Run, keyring: Keyring
) -> None:
    refused = run(f"chain deploy TOK --exponent 8 --at {deployed['address']}").refusal
    assert "has 6 decimals, and TOK has 8" in refused


def test_without_the_extra_the_command_says_how_to_get_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in [name for name in sys.modules if name.startswith("ledger.chain")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'ghostledger[chain]'" in run("chain key new.json --password-file none").refusal
