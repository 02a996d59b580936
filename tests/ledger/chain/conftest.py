from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ledger.chain import anvil as chains
from tests.ledger.chain import world as worlds
from tests.ledger.chain.anvil import Anvil
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
