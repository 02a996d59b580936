from __future__ import annotations

from collections.abc import Iterator

import pytest

from ledger.database import Ledger
from tests.ledger.chain import anvil as chains
from tests.ledger.chain import world as worlds
from tests.ledger.chain.anvil import Anvil
from tests.ledger.chain.books import prepare
from tests.ledger.chain.world import World


@pytest.fixture(scope="session")
def running_anvil() -> Iterator[Anvil]:
    """A chain for all tests of this process."""
    with chains.running() as started:
        yield started


@pytest.fixture(scope="session")
def anvil_world(running_anvil: Anvil) -> World:
    return worlds.made(running_anvil)


@pytest.fixture
def world(running_anvil: Anvil, anvil_world: World) -> Iterator[World]:
    """A funded distributor on anvil, as if no other test had been there."""
    snapshot = running_anvil.snapshot()
    yield anvil_world
    running_anvil.revert(snapshot)


@pytest.fixture
def anvil(world: World, running_anvil: Anvil) -> Anvil:
    """The chain that `world` is on."""
    return running_anvil


@pytest.fixture(scope="session")
def made_in_process() -> World:
    from tests.ledger.chain.tester import Tester  # which takes a second to import

    return worlds.made(Tester())


@pytest.fixture
def world_in_process(made_in_process: World) -> Iterator[World]:
    """A funded distributor on eth-tester, which needs no program beside Python."""
    snapshot = made_in_process.chain.snapshot()
    yield made_in_process
    made_in_process.chain.revert(snapshot)


@pytest.fixture(params=["anvil", "eth-tester"])
def any_world(request: pytest.FixtureRequest) -> World:
    """A funded distributor on either."""
    world: World = request.getfixturevalue("world" if request.param == "anvil" else "world_in_process")
    return world


@pytest.fixture
def owing(file_books: Ledger, world: World) -> Ledger:
    """Books in a file that owe three contributors money, and know the distributor."""
    return prepare(file_books, world)


@pytest.fixture
def owing_anywhere(books: Ledger, world: World) -> Ledger:
    """The same on each database."""
    return prepare(books, world)
