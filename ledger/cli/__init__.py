"""The command line: one file a command, each composing the ledger's functions and, to train, attribution's."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import cast

import typer
from typer.main import get_command

from attribution.errors import AttributionError
from ledger.cli.application import application
from ledger.cli.output import give_up_output, refusal
from ledger.errors import LedgerError

__all__ = ["application", "main"]

REFUSED, INTERRUPTED = 2, 130

# What every usage error is; typer itself exports only this descendant of it.
_UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__base__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0 is success, 1 an audit that found something, 2 bad input or a refusal (one line on standard error), 130 Ctrl-C.
    """
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        code = get_command(application).main(words, prog_name="ghostledger", standalone_mode=False)
        sys.stdout.flush()  # here, where it can still be said that it failed
    except (LedgerError, AttributionError) as error:
        return refusal(str(error), REFUSED)
    except _UsageError as error:
        return refusal(error.format_message(), REFUSED)
    except typer.Abort:
        return refusal("interrupted", INTERRUPTED)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        give_up_output()
        return refusal(f"{where}{error.strerror or error}; look what has been done before you ask again", REFUSED)
    return code if isinstance(code, int) else 0
