"""What values are for, tried on real data: the tables and pictures of docs/uses.md.

    python scripts/experiments/run.py [NAME ...] [--quick | --full] [--workers 2] [--keep FOLDER]
        [--output FILE] [--pictures FOLDER]

Real data and models that ship inside packages (the ``experiments`` extra), nothing downloaded. Seeds are fixed.
``--quick`` runs everything at the smallest size, to see that it works: its figures mean nothing. ``--full`` takes more
seeds and larger sizes. ``--keep`` keeps finished runs in a folder, so that an interrupted experiment goes on.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one thread a process: these models are small
sys.path.append(str(Path(__file__).resolve().parents[1] / "bench"))  # shares the bench's data, runner and tables

import torch
from fidelity.runner import Runner
from fidelity.tables import publish

NAMES = ("curate", "timeline", "trace", "royalty", "explain", "select", "unlearn", "poison", "predict", "finetune")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(NAMES)}; all where none is given")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--quick", dest="size", action="store_const", const="quick", help="the smallest size")
    sizes.add_argument("--full", dest="size", action="store_const", const="full", help="more seeds, larger sizes")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep", type=Path, help="a folder for finished runs")
    parser.add_argument("--output", type=Path, help="a file for the tables, instead of the terminal")
    parser.add_argument("--pictures", type=Path, help="a folder for the pictures; none are drawn without it")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in NAMES]
    if unknown:
        parser.error(f"there is no experiment {unknown[0]!r}, only {', '.join(NAMES)}")
    torch.set_num_threads(1)
    size = options.size or "default"
    run = Runner(options.workers, options.keep)
    sections = []
    try:
        for name in options.names or NAMES:
            study = import_module(f"studies.{name}")
            run.title, before = name, run.seconds
            found = study.report(run, size)
            if options.pictures is not None:
                options.pictures.mkdir(parents=True, exist_ok=True)
                for file, figure in found.pictures.items():
                    figure.savefig(options.pictures / file, dpi=120)
            seconds = run.seconds - before
            print(f"{name}: {seconds:.0f} s of work", file=sys.stderr)
            sections.append(f"## {study.TITLE}\n\n{found.text}\n\n{seconds:.0f} s of work.\n")
    finally:
        run.close()
    publish(sections, f"size {size}, one thread a process", options.output)


if __name__ == "__main__":
    main()
