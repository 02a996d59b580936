"""The one-way rule: attribution never sees the ledger, the ledger sees only the run record."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    return subprocess.run(
        [*command, "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of both packages and of the contracts, to break."""
    for package in ("attribution", "ledger"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_packages_keep_the_rule(copy: Path) -> None:
    result = lint_imports(copy)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("attribution/record.py", "import ledger"),
        ("attribution/record.py", "import torch"),
        ("attribution/training/run.py", "import sqlmodel"),
        ("ledger/axioms.py", "from attribution.meter import InRunShapley"),
        ("ledger/axioms.py", "import attribution.a_module_of_tomorrow"),
        ("ledger/axioms.py", "from attribution.training import sources"),
        ("ledger/settlement.py", "import torch"),
        ("ledger/export/beancount.py", "from beancount import loader"),
        ("ledger/cli/settle.py", "from attribution.training import train"),
        ("ledger/settlement.py", "from ledger.chain import merkle"),
        ("ledger/cli/settle.py", "from ledger.chain.node import Node"),
        ("ledger/payouts.py", "from eth_utils import to_checksum_address"),
    ],
)
def test_a_forbidden_import_is_found(copy: Path, module: str, line: str) -> None:
    (copy / "attribution" / "a_module_of_tomorrow.py").touch()
    file = copy / module
    assert file.is_file()
    with file.open("a") as source:
        source.write(f"\n{line}\n")
    result = lint_imports(copy)
    assert result.returncode == 1, result.stdout
    assert "BROKEN" in result.stdout


@pytest.mark.parametrize(
    "statement",
    [
        "import ledger",
        "import attribution",
        "import attribution.record",
        "import attribution.training",
        "import ledger.cli",
    ],
)
def test_importing_loads_no_torch(statement: str) -> None:
    check = f"import sys; {statement}; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, timeout=120).returncode == 0
