"""A PostgreSQL server of the bench's own, which keeps what it commits: the tests' may forget it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.ledger import server

# As PostgreSQL comes, but for room in its log, so that checkpoints do not fall into a repeat.
SETTINGS = {"listen_addresses": "", "max_wal_size": "4GB"}


@contextmanager
def running() -> Iterator[str]:
    """Start a cluster, and give the URL of its administrator."""
    with server.running(SETTINGS) as started:
        yield started.url("postgres", user="postgres")
