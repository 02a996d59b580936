"""Runs a bench at its smallest size, as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parents[2] / "scripts" / "bench"


def quick(script: str, folder: Path) -> list[str]:
    """The lines of the tables that it wrote."""
    tables = folder / "tables.md"
    done = subprocess.run(
        [sys.executable, str(BENCH / script), "--quick", "--workers", "1", "--output", str(tables)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return tables.read_text().splitlines()
