"""What the books cost: postings a second beside raw SQL, the memory of large settlements and audits, audit time.

    python scripts/bench/ledger.py [--quick] [--parts postings epoch growth] [--postgresql URL] [--folder FOLDER]
        [--repeats 7] [--contributors 1000 10000 100000] [--postings 10000 100000 1000000] [--output FILE]

*Raw* is the same rows, to the byte, written by plain statements with nothing of ours in between: whatever a ledger
writes is read back and replayed into a twin with the same tables, constraints, indexes and triggers, in transactions
of the same size, in turn with the ledger. At the end the twin is audited, so that nobody doubts that it is the same.

Memory is the peak of a process of its own for each settlement and each audit, above what it held before it began.
``--postgresql`` is the URL of a server on which databases may be made; without it a cluster of its own is started, as
somebody else than root. ``--quick`` runs everything at the smallest size, to see that it works; its figures mean
nothing. Machines are noisy: trust ratios, and the quartiles more than the median.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path[0] = str(Path(__file__).resolve().parents[2])  # this file's own name is that of the package it times

from scripts.bench.books import epoch, growth, postings  # noqa: E402
from scripts.bench.books.places import Places, places  # noqa: E402
from scripts.bench.books.sizes import FULL, QUICK, Sizes  # noqa: E402

PARTS = {
    "postings": ("Postings a second, beside raw SQL", postings.report),
    "epoch": ("One settlement, and its audit, by contributors", epoch.report),
    "growth": ("Audit time, by postings", growth.report),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the smallest size, to see that everything works")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--databases", nargs="+", choices=["sqlite", "postgresql"], default=["sqlite", "postgresql"])
    parser.add_argument("--postgresql", metavar="URL", help="a server on which databases may be made")
    parser.add_argument("--folder", type=Path, help="where to put databases, instead of a temporary folder")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--contributors", type=int, nargs="+")
    parser.add_argument("--postings", type=int, nargs="+")
    parser.add_argument("--output", type=Path, help="a file for the tables, instead of the terminal")
    options = parser.parse_args()
    sizes = (QUICK if options.quick else FULL).changed(
        repeats=options.repeats, contributors=options.contributors, postings=options.postings
    )
    with (
        tempfile.TemporaryDirectory(prefix="ghostledger-bench-", dir=options.folder) as folder,
        places(Path(folder), options.databases, options.postgresql) as found,
    ):
        content = "\n".join(section(part, found, sizes) for part in options.parts)
    if options.output is None:
        print(content)
    else:
        options.output.write_text(content)


def section(part: str, found: Places, sizes: Sizes) -> str:
    title, report = PARTS[part]
    print(f"{part} …", file=sys.stderr)
    return f"## {title}\n\n{report(found, sizes)}\n"


if __name__ == "__main__":
    main()
