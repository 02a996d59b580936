"""The state machine's runs: on both databases, and with everything that is done in batches done a few at a time.

``RELIABILITY_EXAMPLES`` and ``RELIABILITY_STEPS`` make them longer, ``RELIABILITY_SEED`` repeats one: a run that fails
prints all three, and the steps that led there, the fewest that do with ``RELIABILITY_SHRINK=1``.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from ledger.database import Ledger
from tests.ledger.conftest import DATABASES
from tests.ledger.reliability.machine import BEGAN, Everything
from tests.ledger.server import Server

EXAMPLES = int(os.environ.get("RELIABILITY_EXAMPLES", "12"))
STEPS = int(os.environ.get("RELIABILITY_STEPS", "25"))
SEED = int(os.environ.get("RELIABILITY_SEED", random.SystemRandom().randrange(2**32)))
# Looking for the shortest steps that fail takes minutes.
PHASES = (Phase.generate, Phase.shrink) if "RELIABILITY_SHRINK" in os.environ else (Phase.generate,)

# How many rows, parameters or lines are taken at a time, by module.
BATCHES = (
    "accounts.BATCH",
    "balances._ROWS",
    "bulk.FEW",
    "bulk.ROWS",
    "chain.booking._BATCH",
    "checks.holds._BATCH",
    "consents._BATCH",
    "held._BATCH",
    "holds._ROWS",
    "journal._LINES",
    "journal._REQUESTS",
    "policies.outcome._TOGETHER",
    "publishable._BATCH",
    "requests.IN_MEMORY",
    "scope._BATCH",
    "shortfall._BATCH",
    "spool.BLOCK",
    "spool.RUN",
    "standing._TOGETHER",
    "writer._KEPT",
)


def run(machine: type[Everything]) -> None:
    print(f"RELIABILITY_SEED={SEED} RELIABILITY_EXAMPLES={EXAMPLES} RELIABILITY_STEPS={STEPS}")
    run_state_machine_as_test(
        hypothesis.seed(SEED)(machine),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            print_blob=True,
            phases=PHASES,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.fixture(scope="module")
def empty_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("empty") / "books.db"
    Ledger.create(place, clock=lambda: BEGAN).close()
    return place


@pytest.fixture(scope="module")
def empty_database(server: Server) -> str:
    empty = server.make()
    Ledger.create(server.url(empty), clock=lambda: BEGAN).close()
    return empty


@pytest.fixture(params=DATABASES)
def machine(request: pytest.FixtureRequest) -> type[Everything]:
    """The machine on one of the databases."""
    if request.param == "sqlite":
        file: Path = request.getfixturevalue("empty_file")

        class OnFile(Everything):
            def make(self) -> str:
                return str(shutil.copyfile(file, self.folder / "books.db"))

        return OnFile
    server: Server = request.getfixturevalue("server")
    empty: str = request.getfixturevalue("empty_database")

    class OnServer(Everything):
        def make(self) -> str:
            self.database = server.make(empty)
            return server.url(self.database)

        def unmake(self) -> None:
            server.drop(self.database)

    return OnServer


def test_the_books_agree_with_a_model_in_plain_python(machine: type[Everything]) -> None:
    run(machine)


def test_they_agree_where_everything_is_done_a_few_at_a_time(
    machine: type[Everything], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in BATCHES:
        monkeypatch.setattr(f"ledger.{name}", 2)
    run(machine)
