"""The schema's history, run from code: an installed package needs no alembic.ini."""

from __future__ import annotations

from importlib.resources import files

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

UNRELEASED = frozenset({"0001"})  # the schemas of ledgers from before the first release, which nothing upgrades


def configuration(connection: Connection | None = None, version_folders: tuple[str, ...] = ()) -> Config:
    """Alembic's configuration for a connection, with folders of further migrations if any."""
    folder = files(__package__)
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", "\n".join((str(folder / "versions"), *version_folders)))
    config.attributes["connection"] = connection
    return config


def newest() -> str:
    """The revision that this program's models describe."""
    head = ScriptDirectory.from_config(configuration()).get_current_head()
    assert head is not None
    return head


def known(revision: str) -> bool:
    """Whether this program knows a revision, so that it can upgrade from it."""
    return revision in {script.revision for script in ScriptDirectory.from_config(configuration()).walk_revisions()}


def upgrade(connection: Connection, version_folders: tuple[str, ...] = ()) -> None:
    """Bring the schema to the newest revision, triggers included."""
    command.upgrade(configuration(connection, version_folders), "heads")
