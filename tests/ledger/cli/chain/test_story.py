from __future__ import annotations

from pathlib import Path
from typing import Any

from eth_account import Account

from ledger.database import Ledger
from tests.ledger.chain.world import DELAY, World
from tests.ledger.cli.chain.conftest import PAYABLE, Keyring, owe
from tests.ledger.cli.conftest import Run


def settle(world: World) -> None:
    """Let what was submitted become active, and final."""
    world.chain.pass_time(DELAY + 1)
    world.chain.mine(2)


def test_from_what_is_payable_to_tokens_claimed_in_three_ways(
    addressed: dict[str, Any], world: World, rpc: str, keyring: Keyring, ok: Run, run: Run, tmp_path: Path
) -> None:
    signing = keyring.options("publisher")
    planned = ok("chain publish --dry-run --json", *signing).json
    assert {one["contributor"]: one["amount"] for one in planned["due"]} == {
        "alice": "3.000001",
        "bob": "2.000000",
        "carol": "1.000000",
    }
    assert ok("chain status --json").json[0]["roots"] == []  # nothing was written

    assert ok("chain publish --until sent --json", *signing).json["stage"] in ("sent", "mined")
    (shown,) = ok("chain status --json").json
    assert (shown["payable"], shown["publishing"], shown["in_flight"]) == ("0.000000", "6.000001", "0.000000")
    settle(world)
    assert ok("chain publish --until active --json", *signing).json["stage"] == "active"
    (shown,) = ok("chain status --json").json
    assert (shown["publishing"], shown["in_flight"], shown["chain"]["promised"]) == ("0.000000", "6.000001", "6.000001")

    for who in PAYABLE:
        Path(tmp_path / f"{who}.json").write_text(ok("chain proof", who).out)
    vault = Account.create().address
    Path(tmp_path / "permit").write_text(
        ok("chain permit bob.json --to", vault, *keyring.options("bob"), "--hours", "99999").out
    )
    assert "nothing was signed" in ok("chain claim alice.json --dry-run", *keyring.options("alice")).out
    by_itself = ok("chain claim alice.json --json", *keyring.options("alice")).json
    assert by_itself["paid"] == [
        {"account": world.address("alice"), "to": world.address("alice"), "amount": "3.000001"}
    ]
    ok("chain claim bob.json --permit permit", *keyring.options("alice"))
    ok("chain claim carol.json", *keyring.options("alice"))
    balances = {who: world.token.balance_of(world.address(who)) for who in PAYABLE}
    assert balances == {"alice": 3_000_001, "bob": 0, "carol": 1_000_000}
    assert world.token.balance_of(vault) == 2_000_000
    assert "has claimed all" in run("chain claim carol.json", *keyring.options("alice")).refusal

    assert run("chain reconcile --json").code == 1  # not booked yet
    world.chain.mine(2)
    assert ok("chain watch --json").json["claims"] == 3
    assert ok("chain watch --json").json["claims"] == 0
    assert ok("chain reconcile --json").json["differences"] == []
    (shown,) = ok("chain status --json").json
    assert (shown["in_flight"], shown["paid"], shown["chain"]["claimed"]) == ("0.000000", "6.000001", "6.000001")
    audited = ok("audit --json --rpc", rpc).json
    assert audited["ok"]
    (compared,) = [check for check in audited["checks"] if check["name"] == "chain"]
    assert "agree" in compared["detail"]


def test_a_second_root_covers_the_first_and_one_claim_takes_both(
    addressed: dict[str, Any], owed: Ledger, world: World, keyring: Keyring, ok: Run
) -> None:
    signing = keyring.options("publisher")
    ok("chain publish --until sent", *signing)
    settle(world)
    ok("chain publish --until active", *signing)
    owe(owed, {"alice": 5, "carol": 7})
    planned = ok("chain publish --dry-run --json", *signing).json
    assert [(one["contributor"], one["amount"], one["cumulative"]) for one in planned["due"]] == [
        ("alice", "0.000005", "3.000006"),
        ("carol", "0.000007", "1.000007"),
    ]
    ok("chain publish --until sent", *signing)
    settle(world)
    assert ok("chain publish --until active --json", *signing).json["total"] == "6.000013"
    said = ok("chain proof --folder proofs").out
    assert "3 proofs by root 2 in proofs" in said
    for who in PAYABLE:
        ok(f"chain claim proofs/{world.address(who)}.json", *keyring.options("alice"))
    world.chain.mine(2)
    assert ok("chain watch --json").json["claims"] == 3
    assert ok("chain reconcile --json").json["ok"]


def test_a_publication_that_was_not_sent_is_given_up_and_payable_again(
    addressed: dict[str, Any], world: World, keyring: Keyring, ok: Run, run: Run
) -> None:
    signing = keyring.options("publisher")
    assert "no publication is open" in run("chain cancel --reason late", *signing).refusal
    ok("chain publish --until sent", *signing)
    refused = run("chain cancel --reason late", *signing).refusal
    assert "let the guardian revoke it" in refused
    guarding = keyring.options("guardian")
    assert "nothing was signed" in ok("chain revoke 1 --dry-run", *guarding).out
    ok("chain revoke 1", *guarding)
    assert "revoked" in run("chain revoke 1", *guarding).refusal
    world.chain.mine(2)
    ok("chain watch")
    ok("chain pause roots", *guarding)
    assert "paused" in run("chain publish", *signing).refusal
    ok("chain pause roots --resume", *guarding)
    (shown,) = ok("chain status --json").json
    assert (shown["payable"], shown["in_flight"], shown["roots"][0]["state"]) == ("6.000001", "0.000000", "revoked")
    assert ok("chain reconcile --json").json["ok"]


def test_an_address_changes_by_the_old_key_or_by_two_operators_and_later(
    addressed: dict[str, Any], world: World, keyring: Keyring, ok: Run, run: Run
) -> None:
    new = world.address("guardian")
    words = ["alice", new, "--chain-id", str(world.chain_id)]
    ok("chain address message", *words, "--out", "new")
    ownership = ok("chain address sign new.ownership.json", *keyring.options("guardian")).out.strip()
    assert "2 different operators" in run("chain address set", *words, "--signature", ownership).refusal
    ok("chain operator add olga", world.address("bob"))
    ok("chain operator add otto", world.address("carol"))
    approvals = [
        ok("chain address sign new.change.json", *keyring.options(who)).out.strip() for who in ("bob", "carol")
    ]
    one = ["--signature", ownership, "--approval", approvals[0]]
    assert "2 different operators" in run("chain address set", *words, *one).refusal
    made = ok("chain address set --json", *words, *one, "--approval", approvals[1]).json
    (alice, *_) = ok("chain address list --json --chain-id", str(world.chain_id)).json
    assert (alice["address"], alice["pending"]) == (world.address("alice"), new)
    assert alice["pending_from"] == made["from"]
    planned = ok("chain publish --dry-run --json", *keyring.options("publisher")).json
    assert [(one["contributor"], one["reason"]) for one in planned["kept"]] == [
        ("alice", f"address {new} is not in force until {made['from']}")
    ]
    assert new in ok("statement alice --json").out
    ok("chain operator remove otto")
    assert [one["name"] for one in ok("chain operator list --json").json] == ["olga"]
