"""`ghostledger demo`: the whole story once, on real text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLE = "Example: ghostledger demo --folder demo-output --seed 1"


def demo(
    folder: Annotated[Path, typer.Option(help="Where the database, the record and the picture go.")] = Path(
        "demo-output"
    ),
    seed: Annotated[int, typer.Option(help="The same seed gives the same payouts.")] = 0,
) -> None:
    """Register real text of ten contributors, train one epoch metered, settle 10 000.00 EUR, and audit it all."""
    from ledger.cli.demo import run_demo  # loads torch, which no other command but train needs

    run_demo(folder, seed=seed)
