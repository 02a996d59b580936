"""What values that know about absence are worth, as Markdown tables: the evidence of docs/fidelity.md.

    python scripts/bench/counterfactual.py [--quick] [--workers 2] [--keep FOLDER] [--output FILE]

Data, models and options are those of ``fidelity.py``.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one thread a process: these models are small

import torch
from fidelity import adam_tangents
from fidelity import counterfactual_amounts as amounts
from fidelity.counterfactual_cases import FULL, QUICK, told
from fidelity.counterfactual_cost import costs
from fidelity.counterfactual_halves import leaving_one_out, random_halves
from fidelity.counterfactual_truth import courts, truths
from fidelity.runner import Runner
from fidelity.tables import publish


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the smallest size, to see that everything works")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep", type=Path, help="a folder for finished runs")
    parser.add_argument("--output", type=Path, help="a file for the tables, instead of the terminal")
    options = parser.parse_args()
    torch.set_num_threads(1)
    amount = QUICK if options.quick else FULL
    run = Runner(options.workers, options.keep)
    try:
        truth, court = truths(run, amount), courts(run, amount)
        found = told(run, amount)
        sections = {
            "Random halves": random_halves(found, truth, court),
            "Leaving one out": leaving_one_out(found, truth),
            "Amounts": amounts.against_shapley(found, court),
            "Luck": amounts.over_seeds(found),
            "Who is paid what": amounts.kinds(found, truth, court),
            "Costs": costs(run, amount),
            "Sums": amounts.sums(found),
            "Tangents of AdamW": adam_tangents.report(run, amount, truth["struck"]),
        }
    finally:
        run.close()
    print(f"{run.seconds:.0f} s of work", file=sys.stderr)
    titled = [f"### {title}\n\n{text}\n" for title, text in sections.items()]
    publish(titled, f"{options.workers} processes of one thread", options.output)


if __name__ == "__main__":
    main()
