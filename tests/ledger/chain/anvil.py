"""A chain of the tests' own: anvil on a free port of the loopback. It ends with this process, whatever ends that."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ledger.chain.node import Node
from ledger.chain.rpc import Endpoint

ROOT = Path(__file__).resolve().parents[3]
_BINARY = ROOT / "contracts/node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil"
CHAIN_ID = 31_337
_PR_SET_PDEATHSIG = 1


class Anvil:
    """A running chain, which mines a block for each transaction until it is told not to."""

    def __init__(self, url: str, process: int) -> None:
        self.url, self.process = url, process
        self.endpoint = Endpoint(url, timeout=60)

    def ask(self, method: str, *params: object) -> Any:
        """The result of a request."""
        return self.endpoint.ask(method, params)

    def node(self) -> Node:
        """What the ledger sees of it."""
        return Node(self.url)

    def settle(self, patience: float = 1) -> None:
        """Wait until what was sent is in a block, on a chain that mines at once: it answers before it has."""
        end = time.monotonic() + patience  # what pays too little waits all the same
        while self.ask("anvil_getAutomine") and self.waiting() and time.monotonic() < end:
            time.sleep(0.005)

    def mine(self, blocks: int = 1, seconds_apart: int = 1) -> None:
        """Add blocks, the first of them with what waits."""
        self.settle()
        self.ask("anvil_mine", hex(blocks), hex(seconds_apart))

    def pass_time(self, seconds: int) -> None:
        """Add a block that is so many seconds later."""
        self.ask("evm_increaseTime", hex(seconds))
        self.mine()

    def automine(self, on: bool) -> None:
        """Whether each transaction gets a block at once; otherwise they wait for `mine`."""
        self.ask("evm_setAutomine", on)

    def reorganise(self, depth: int, transactions: list[tuple[bytes, int]] | None = None) -> None:
        """Replace the last blocks by as many others, with these raw transactions at these places, counted from 0.

        What was in the replaced blocks is gone, and waits nowhere.
        """
        added = [["0x" + raw.hex(), place] for raw, place in transactions or []]
        self.ask("anvil_reorg", depth, added)

    def drop(self, transaction: str) -> None:
        """Forget a transaction that waits."""
        self.ask("anvil_dropTransaction", transaction)

    def drop_all(self) -> None:
        """Forget all transactions that wait."""
        self.ask("anvil_dropAllTransactions")

    def set_base_fee(self, wei: int) -> None:
        """The next block's base fee."""
        self.ask("anvil_setNextBlockBaseFeePerGas", hex(wei))

    def fund(self, address: str, wei: int = 10**20) -> None:
        """Give an address money for gas."""
        self.ask("anvil_setBalance", address, hex(wei))

    def snapshot(self) -> str:
        """The chain as it is, to come back to once."""
        return str(self.ask("evm_snapshot"))

    def revert(self, snapshot: str) -> None:
        """Back to a snapshot, which is used up by that."""
        self.drop_all()
        assert self.ask("evm_revert", snapshot) is True
        self.automine(True)
        self.drop_all()
        self.set_base_fee(self.node().base_fee())  # it would stay what a test has set, and the pool refuse what is less

    def waiting(self) -> list[str]:
        """The hashes of the transactions that wait for a block."""
        pool = self.ask("txpool_content")
        return [
            one["hash"]
            for kind in ("pending", "queued")
            for by_nonce in pool[kind].values()
            for one in by_nonce.values()
        ]


@contextmanager
def running(options: Mapping[str, str] | None = None) -> Iterator[Anvil]:
    """Start a chain, and stop it. Fails the test where anvil is not installed."""
    command = [_binary(), "--host", "127.0.0.1", "--port", "0", "--chain-id", str(CHAIN_ID)]
    command += ["--preserve-historical-states"]
    command += [word for name, value in (options or {}).items() for word in (name, value)]
    with tempfile.TemporaryDirectory(prefix="ghostledger-anvil-") as folder:
        log = Path(folder, "log")
        with log.open("w") as file:
            process = subprocess.Popen(
                command,
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=folder,
                env={"HOME": folder, "PATH": os.environ["PATH"], "TOKIO_WORKER_THREADS": "1"},
                preexec_fn=_end_with_parent,
            )
        try:
            yield Anvil(f"http://127.0.0.1:{_port(log, process)}", process.pid)
        finally:
            process.kill()
            process.wait(timeout=30)


def _binary() -> str:
    found = str(_BINARY) if _BINARY.exists() else os.environ.get("ANVIL") or shutil.which("anvil")
    if not found:
        pytest.fail("anvil is missing, which these tests need: run npm ci --ignore-scripts in contracts", pytrace=False)
    return found


def _port(log: Path, process: subprocess.Popen[bytes], patience: float = 30) -> int:
    """The port that the system chose, which anvil prints once it listens."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        _, found, rest = log.read_text().partition("Listening on 127.0.0.1:")
        if found and "\n" in rest:
            return int(rest.split()[0])
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise AssertionError(f"anvil did not start: {log.read_text()}")


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
