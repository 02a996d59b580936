"""`ghostledger export`: write the whole journal for another program, which can then check it."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import IO, Annotated

import typer

from ledger.cli.options import DEFAULT_LEDGER, LedgerPlace
from ledger.database import Ledger
from ledger.errors import ExportFileError
from ledger.export import FORMATS
from ledger.export.beancount import DIGITS, beancount
from ledger.export.extract import Extract

EXAMPLE = "Example: ghostledger export --format hledger --out books.journal"


class Format(StrEnum):
    """The names of `FORMATS`."""

    hledger = "hledger"
    beancount = "beancount"
    json = "json"
    csv = "csv"


def export(
    format: Annotated[Format, typer.Option("--format", help="Whose terms to write in.")],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="A new file; standard output unless given.")] = None,
    digits: Annotated[
        int | None, typer.Option(min=DIGITS, help=f"How many digits your beancount counts with, unless {DIGITS}.")
    ] = None,
    ledger: LedgerPlace = DEFAULT_LEDGER,
) -> None:
    """Write the whole journal for hledger or beancount, which check every sum by themselves, or as JSON or CSV.

    What is written is whole, or nothing is. Debits are positive, credits negative.
    """
    write = FORMATS[format.value]
    if digits is not None:
        if format.value != "beancount":
            raise typer.BadParameter(f"only beancount has such a limit, {format.value} has none", param_hint="--digits")
        write = partial(beancount, digits=digits)
    with Ledger.open(ledger) as books, _output(out) as file, books.reading() as session:
        file.writelines(text.encode() for text in write(Extract(session)))


@contextmanager
def _output(out: Path | None) -> Iterator[IO[bytes]]:
    """A file that gets to where it is meant to go when the block ends, and disappears when the block raises."""
    place = "standard output" if out is None else str(out)
    try:
        if out is None:
            with tempfile.TemporaryFile() as file:
                yield file
                file.seek(0)
                shutil.copyfileobj(file, sys.stdout.buffer)
            return
        if out.exists():
            raise FileExistsError
        scratch = out.with_name(f".{out.name}.{secrets.token_hex(4)}.new")
        try:
            with scratch.open("xb") as file:
                yield file
            os.link(scratch, out)  # refuses what exists, unlike a renaming
        finally:
            scratch.unlink(missing_ok=True)
    except BrokenPipeError:
        raise
    except FileExistsError as error:
        reason = "it exists already, and is not overwritten; choose another name"
        raise ExportFileError(place, reason) from error
    except OSError as error:
        raise ExportFileError(place, error.strerror or str(error)) from error
