"""`ghostledger demo`: the whole story once, on real text."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.errors import MissingLibraryError

if TYPE_CHECKING:
    from ledger.cli.demo.chain import DemoChain

EXAMPLE = "Example: ghostledger demo --folder demo-output --seed 1"


def demo(
    folder: Annotated[Path, typer.Option(help="Where the database, the record and the picture go.")] = Path(
        "demo-output"
    ),
    seed: Annotated[int, typer.Option(help="The same seed gives the same payouts.")] = 0,
    chain: Annotated[
        bool, typer.Option("--chain", help="In tokens, published on a chain inside this program, and claimed there.")
    ] = False,
) -> None:
    """Register real text of ten contributors, train one epoch metered, settle 10 000.00 EUR, and audit it all."""
    local = _local_chain() if chain else None  # ahead of the training: it may not be installed
    from ledger.cli.demo import run_demo  # loads torch, which no other command but train needs

    run_demo(folder, seed=seed, chain=local)


def _local_chain() -> Callable[[], DemoChain]:
    if find_spec("eth_tester") is None:
        raise MissingLibraryError("a chain inside this program", "eth-tester", "local-chain")
    from ledger.chain.local import LocalChain

    return LocalChain
