"""Publishers that are killed with SIGKILL at a chosen write to the books or request to the node.

Each runs in a process forked for it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from typing import Any

from ledger.chain.contract import DistributorContract
from ledger.chain.node import Node
from ledger.chain.token import Token
from ledger.chain.watcher import watch
from ledger.database import Ledger
from tests.ledger.chain.anvil import CHAIN_ID, Anvil
from tests.ledger.chain.books import IMPATIENT, publisher
from tests.ledger.chain.world import CONTRIBUTORS, ROLES, World, key
from tests.ledger.processes import at_once
from tests.ledger.reliability.killing import counting

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Address:
    """Where a world is, for another process."""

    url: str
    process: int
    token: str
    contract: str
    first_block: int

    @classmethod
    def of(cls, world: World) -> Address:
        assert isinstance(world.chain, Anvil)
        return cls(world.chain.url, world.chain.process, world.token.address, world.contract.address, world.first_block)

    def world(self) -> World:
        node = Node(self.url)
        keys = {who: key(who) for who in (*ROLES, *CONTRIBUTORS)}
        contract = DistributorContract(node, CHAIN_ID, self.contract)
        return World(Anvil(self.url, self.process), node, keys, Token(node, self.token), contract, self.first_block)


def _publish(books: Ledger, world: World) -> None:
    publisher(books, world).publish()


def _replace(books: Ledger, world: World) -> None:
    publisher(books, world, patience=replace(IMPATIENT, stuck=timedelta())).step()


def _cancel(books: Ledger, world: World) -> None:
    publisher(books, world).cancel("wrong")


def _watch(books: Ledger, world: World) -> None:
    watch(books, world.node, None)


WORKS: dict[str, Callable[[Ledger, World], None]] = {
    "publish": _publish,
    "replace": _replace,
    "cancel": _cancel,
    "watch": _watch,
}


def worked(place: str, address: Address, name: str) -> None:
    """Do it at a fixed time, so that what is stored and signed does not depend on when."""
    with Ledger.open(place, clock=lambda: NOW) as books:
        WORKS[name](books, address.world())


WRITE, READ, SEND = "write", "read", "send"


def points(place: str, address: Address, name: str) -> list[str]:
    """What it would be killed ahead of at each point: a write or a commit, a request that reads, one that sends.

    After what was sent has arrived there is another one. The work is done meanwhile.
    """
    found: list[str] = []
    world = address.world()
    with (
        Ledger.open(place, clock=lambda: NOW) as books,
        counting(books, lambda _: found.append(WRITE)),
        asking(world.node, found.append),
    ):
        WORKS[name](books, world)
    return found


def killed(place: str, address: Address, name: str, deadly: int) -> bool:
    """Whether a process that did this was killed at this point, counted from 1; it ends well where there are fewer."""
    child = get_context("fork").Process(  # which is quick, and may: nothing else runs in this process now
        target=_worked_and_killed, args=(place, address, name, deadly)
    )
    child.start()
    child.join(60)
    assert child.exitcode in (0, -signal.SIGKILL), child.exitcode
    return child.exitcode != 0


def _worked_and_killed(place: str, address: Address, name: str, deadly: int) -> None:
    counted = 0

    def reached(*_: object) -> None:
        nonlocal counted
        counted += 1
        if counted == deadly:
            os.kill(os.getpid(), signal.SIGKILL)

    world = address.world()
    with Ledger.open(place, clock=lambda: NOW) as books, counting(books, reached), asking(world.node, reached):
        WORKS[name](books, world)


@contextmanager
def asking(node: Node, reached: Callable[[str], object]) -> Iterator[None]:
    """Call back before each request to a node, and once more after what was sent has arrived."""
    ask = node._endpoint.ask

    def counted(method: str, params: Sequence[object]) -> Any:
        sends = method == "eth_sendRawTransaction"
        reached(SEND if sends else READ)
        answer = ask(method, params)
        if sends:
            reached(SEND)
        return answer

    node._endpoint.ask = counted  # type: ignore[method-assign]
    yield
    node._endpoint.ask = ask  # type: ignore[method-assign]


# At once


@dataclass(frozen=True)
class Publishing:
    """Publishes, as a request of `processes.at_once`."""

    address: Address

    def __call__(self, place: str) -> tuple[int, str, str | None]:
        with Ledger.open(place) as books:
            outcome = publisher(books, self.address.world()).publish()
            return outcome.publication.entry, outcome.state.stage, outcome.state.transaction


def publish_at_once(place: str, address: Address, publishers: int) -> list[Any]:
    """What several publishers that begin together come to."""
    return [outcome for (outcome,) in at_once(place, [[Publishing(address)]] * publishers)]
