"""A PostgreSQL server of the tests' own: a new cluster in a temporary folder, on a socket there and nowhere else.

It never runs as root, and it ends with this process, whatever ends that. Its locale sorts as a dictionary does, not as
Python does, so that nothing comes to depend on the order of a server's locale.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

OWNER, CLERK, PASSWORD = "keeper", "clerk", "correct horse"  # roles that are no superusers; the clerk's is asked for
_ADMINISTRATOR = "postgres"
_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "40",
    "deadlock_timeout": "100ms",
    # What these give up matters only where the machine fails.
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "autovacuum": "off",
    "max_wal_size": "4GB",
}
_NEW_CLUSTER = (
    "--auth=trust",
    "--encoding=UTF8",
    "--locale=C.UTF-8",
    "--locale-provider=icu",
    "--icu-locale=en-US",
    "--no-sync",
)
_PR_SET_PDEATHSIG = 1


class Server:
    """A running server, and databases on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers = count(1)

    def url(self, database: str, user: str = OWNER) -> str:
        """The URL of a database on this server, for a role."""
        return f"postgresql://{user}@/{database}?host={self.folder}"

    def make(self, template: str = "template0") -> str:
        """A new database of the owner's, with what the template holds; its name."""
        name = f"books_{next(self._numbers)}"
        # A copy of its files is quicker than the log of a copy, which is the default.
        self.run(f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE {template} STRATEGY file_copy")
        return name

    def drop(self, database: str) -> None:
        """Remove a database, whoever is connected to it."""
        self.run(f"DROP DATABASE {database} WITH (FORCE)")

    def run(self, statement: str, database: str = "postgres") -> None:
        """Run a statement as the administrator."""
        with self.connect(database) as connection:
            connection.execute(statement)

    def connect(self, database: str, user: str = _ADMINISTRATOR, **options: Any) -> Any:
        """A plain connection, of the administrator where no other role is named."""
        import psycopg

        return psycopg.connect(host=str(self.folder), dbname=database, user=user, autocommit=True, **options)


@contextmanager
def running(settings: Mapping[str, str] = _SETTINGS) -> Iterator[Server]:
    """Start a server, and stop it. Fails the test where PostgreSQL is not installed."""
    programs = _programs()
    account = _account()
    folder = Path(tempfile.mkdtemp(prefix="ghostledger-postgresql-"))
    try:
        if account:
            shutil.chown(folder, account, account)
        identity: dict[str, Any] = {"user": account, "group": account, "extra_groups": []} if account else {}
        data = folder / "data"
        made = subprocess.run(
            [programs / "initdb", f"--pgdata={data}", f"--username={_ADMINISTRATOR}", *_NEW_CLUSTER],
            capture_output=True,
            text=True,
            cwd=folder,
            **identity,
        )
        assert made.returncode == 0, made.stderr
        (data / "pg_hba.conf").write_text(f"local all {CLERK} scram-sha-256\nlocal all all trust\n")
        settings = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(
                [programs / "postgres", "-D", data, "-k", folder, *settings],
                stdout=log,
                stderr=log,
                cwd=folder,
                preexec_fn=_end_with_parent,
                **identity,
            )
        try:
            server = Server(folder)
            _wait(server, process)
            server.run(f"CREATE ROLE {OWNER} LOGIN")
            server.run(f"CREATE ROLE {CLERK} LOGIN PASSWORD '{PASSWORD}'")
            yield server
        finally:
            process.send_signal(signal.SIGQUIT)  # what it holds is not wanted any more
            process.wait(timeout=30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    """The folder of the server's programs: where the PATH finds them, or Debian's newest."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_age)
    if not folders or not (folders[-1] / "postgres").exists():
        pytest.fail("PostgreSQL is missing, which half of these tests need: apt-get install postgresql", pytrace=False)
    return folders[-1]


def _age(folder: Path) -> int:
    return int(folder.parent.name) if folder.parent.name.isdigit() else 0


def _account() -> str | None:
    """The account to run as, where this is root's: PostgreSQL refuses to be started by root."""
    if os.geteuid():
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in names)


def _end_with_parent() -> None:
    """Linux ends the server with the process that started it, even where that is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


def _wait(server: Server, process: subprocess.Popen[bytes]) -> None:
    import psycopg

    until = time.monotonic() + 30
    while True:
        try:
            server.run("SELECT 1")
        except psycopg.OperationalError:
            log = (server.folder / "log").read_text()
            assert process.poll() is None, log
            assert time.monotonic() < until, log
            time.sleep(0.05)
        else:
            return
