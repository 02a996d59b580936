"""The fidelity bench runs from end to end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parents[2] / "scripts" / "bench" / "fidelity.py"
TITLES = [
    "What is not attributed",
    "Against enumeration of the step games",
    "Against absence",
    "Against Shapley values by retraining",
    "Finding wrong labels",
]


def test_the_bench_fills_every_table_at_its_smallest_size(tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, str(BENCH), "--quick", "--workers", "1", "--output", str(tmp_path / "tables.md")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "tables.md").read_text().splitlines()
    assert [line[3:] for line in lines if line.startswith("## ")] == TITLES
    rows = [line for line in lines if line.startswith("| digits")]
    assert len(rows) == 11  # each table has its one setting
    assert "nan" not in " ".join(rows)
