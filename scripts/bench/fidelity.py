"""How faithful values are, as Markdown tables: the evidence of docs/fidelity.md.

    python scripts/bench/fidelity.py [--quick] [--parts gaps games absence appeal mislabels]
        [--workers 2] [--keep FOLDER] [--output FILE]

Real data that ships inside packages (the ``bench`` extra), nothing downloaded. ``--quick`` runs everything at the
smallest size, to see that it works; its figures mean nothing. ``--keep`` keeps finished runs in a folder, so that an
interrupted bench goes on.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one thread a process: these models are small

import torch
from fidelity import absence, appeal, gaps, mislabels, step_games
from fidelity.runner import Runner
from fidelity.sizes import FULL, QUICK
from fidelity.tables import publish

PARTS = {
    "gaps": ("What is not attributed", gaps.report),
    "games": ("Against enumeration of the step games", step_games.report),
    "absence": ("Against absence", absence.report),
    "appeal": ("Against Shapley values by retraining", appeal.report),
    "mislabels": ("Finding wrong labels", mislabels.report),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the smallest size, to see that everything works")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep", type=Path, help="a folder for finished runs")
    parser.add_argument("--output", type=Path, help="a file for the tables, instead of the terminal")
    options = parser.parse_args()
    torch.set_num_threads(1)
    size = QUICK if options.quick else FULL
    run = Runner(options.workers, options.keep)
    sections = []
    try:
        for part in options.parts:
            title, report = PARTS[part]
            before = run.seconds
            text = report(run, size)
            print(f"{part}: {run.seconds - before:.0f} s of work", file=sys.stderr)
            sections.append(f"## {title}\n\n{text}\n")
    finally:
        run.close()
    publish(sections, f"{options.workers} processes of one thread", options.output)


if __name__ == "__main__":
    main()
