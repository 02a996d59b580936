"""Runs an experiment at its smallest size, as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

RUN = Path(__file__).resolve().parents[2] / "scripts" / "experiments" / "run.py"


def quick(name: str, folder: Path) -> str:
    """The experiment's Markdown; its pictures lie in ``folder / "pictures"``."""
    done = subprocess.run(
        [sys.executable, str(RUN), name, "--quick", "--workers", "1", "--pictures", str(folder / "pictures")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "nan" not in done.stdout
    return done.stdout
