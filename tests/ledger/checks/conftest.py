import shutil
from pathlib import Path

import pytest

from tests.ledger.server import Server
from tests.ledger.tampering import Original


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Original:
    """The books in which everything has happened, in a file."""
    return Original(tmp_path_factory.mktemp("original"))


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Original:
    """The same on a server."""
    return Original(tmp_path_factory.mktemp("original"), server)


@pytest.fixture(params=["files", "servers"])
def original(request: pytest.FixtureRequest) -> Original:
    """The same, on each database."""
    made: Original = request.getfixturevalue(request.param)
    return made


@pytest.fixture
def folder(files: Original, tmp_path: Path) -> Path:
    """A copy of the file with the records of its runs, to do with as one likes."""
    return Path(shutil.copytree(files.folder, tmp_path / "copy"))
