"""That the tests' own chain does what tests take for granted of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from ledger.chain.transactions import transaction_hash
from tests.ledger.chain.anvil import ROOT, Anvil
from tests.ledger.chain.world import World, key, mined

SOMEBODY = key("somebody").address


def number(world: World) -> int:
    block = world.node.block()
    assert block is not None
    return block.number


def test_a_reorganisation_replaces_blocks_and_moves_transactions(world: World, anvil: Anvil) -> None:
    anvil.automine(False)
    raws = [world.sign("alice", SOMEBODY, b"", nonce=nonce, value=1) for nonce in (0, 1)]
    for raw in raws:
        world.node.send(raw)
        anvil.mine()
    anvil.mine()
    height, before = number(world), [mined(world.node, raw) for raw in raws]
    anvil.reorganise(3, [(raws[0], 1)])
    assert number(world) == height
    moved = mined(world.node, raws[0])
    assert moved.block_number == before[0].block_number + 1
    assert moved.block_hash not in {one.block_hash for one in before}
    assert world.node.receipt(transaction_hash(raws[1])) is None
    assert world.node.balance(SOMEBODY) == 1


def test_a_test_leaves_nothing_behind(world: World, anvil: Anvil) -> None:
    snapshot = anvil.snapshot()
    head, timestamp = number(world), world.node.block()
    anvil.automine(False)
    world.node.send(world.sign("alice", SOMEBODY, b""))
    anvil.pass_time(10**6)
    anvil.set_base_fee(10**11)
    anvil.mine()
    world.node.send(world.sign("alice", SOMEBODY, b"", nonce=1))
    anvil.revert(snapshot)
    assert (number(world), world.node.block()) == (head, timestamp)
    assert anvil.waiting() == []
    world.send("alice", SOMEBODY, b"")  # mined at once, at the fees of before
    block = world.node.block()
    assert block is not None
    assert timestamp is not None
    assert block.base_fee < 10**10
    assert block.timestamp < timestamp.timestamp + 10**5


def test_a_chain_ends_with_the_process_that_started_it_even_when_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import time\n"
        "from tests.ledger.chain import anvil\n"
        "with anvil.running() as chain:\n"
        "    print(chain.ask('web3_clientVersion'), chain.process, flush=True)\n"
        "    time.sleep(60)\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}  # what is killed does not tidy up
    parent = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    version, process = parent.stdout.readline().split()
    assert version.startswith("anvil/")
    parent.kill()
    parent.wait(timeout=30)
    end = time.monotonic() + 10
    while runs(int(process)):
        assert time.monotonic() < end, "anvil outlived its parent"
        time.sleep(0.02)


def runs(process: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has asked about does not."""
    try:
        os.kill(process, 0)
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False
