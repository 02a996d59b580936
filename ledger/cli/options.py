"""The options that several commands share, and how what a person typed is read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ledger.database import Ledger

DEFAULT_LEDGER = "ghostledger.db"

LedgerPlace = Annotated[
    str,
    typer.Option("--ledger", envvar="GHOSTLEDGER", metavar="PATH|URL", help="The ledger: a SQLite file or a URL."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program instead of text for a person.")]
AllowPartial = Annotated[bool, typer.Option("--allow-partial", help="Accept a run that stopped before its end.")]
Exponent = Annotated[int | None, typer.Option(help="Decimals of the asset, where it is not an ISO 4217 currency.")]
Reference = Annotated[
    str | None, typer.Option(help="The outside world's name for it: asked for again, it is the same.")
]
Key = Annotated[str | None, typer.Option(help="The request's own name, where it has no reference.")]
TextField = Annotated[str, typer.Option(help="The JSON Lines field or Parquet column that holds the text.")]
Encoding = Annotated[str, typer.Option(help="The encoding of text files and JSON Lines.")]


def stored_path(path: Path, books: Ledger) -> str:
    """A path as the ledger keeps it: relative to the ledger's folder where it lies in there, so that both can move."""
    absolute = path.resolve()
    if books.folder is not None and absolute.is_relative_to(books.folder):
        return str(absolute.relative_to(books.folder))
    return str(absolute)


def located_path(stored: str, books: Ledger) -> Path:
    """Where a path that the ledger keeps is now."""
    return (books.folder or Path()) / stored
