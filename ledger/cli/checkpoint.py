"""`ghostledger checkpoint`: sign what the ledger's log is now, for others to keep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ledger.cli.files import read_checkpoint, read_signer, write_new
from ledger.cli.options import DEFAULT_LEDGER, LedgerPlace
from ledger.cli.output import write
from ledger.database import Ledger
from ledger.proofs import log
from ledger.proofs.checkpoint import Continuation, sign

EXAMPLE = "Example: ghostledger checkpoint --key operator.key --older march.txt --out april.txt --proof march-april.txt"


def checkpoint(
    key: Annotated[Path, typer.Option(metavar="FILE", help="The private key that signs, from `ghostledger key`.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A new file for the checkpoint; standard output unless given.")
    ] = None,
    older: Annotated[
        Path | None, typer.Option(metavar="FILE", help="An older checkpoint: prove that this one continues it.")
    ] = None,
    proof: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --older, a new file for the proof; standard output unless given."),
    ] = None,
    ledger: LedgerPlace = DEFAULT_LEDGER,
) -> None:
    """Sign the log's size and root (c2sp.org/tlog-checkpoint). Whoever keeps that finds history rewritten since.

    With an older checkpoint, nothing is signed unless the log continues it; the proof of that, which carries the new
    checkpoint with it, is also what witnesses are asked with (c2sp.org/tlog-witness).
    """
    if proof is not None and proof == out:
        raise typer.BadParameter("a proof needs a file of its own", param_hint="--proof")
    if proof is not None and older is None:
        raise typer.BadParameter("a proof is of an older checkpoint; give it with --older", param_hint="--proof")
    signer = read_signer(key)
    with Ledger.open(ledger) as books, books.reading() as session:
        if older is None:
            signed, continuation = sign(log.checkpoint(session), signer), None
        else:
            before = read_checkpoint(older, signer.verifier)[1]
            now, path = log.continued(session, before)
            signed = sign(now, signer)
            continuation = str(Continuation(before.size, path, signed))
    files = {
        path: text for path, text in ((out, signed), (proof, continuation)) if path is not None and text is not None
    }
    write_new(files)
    if continuation is not None and proof is None:
        write(continuation)
    elif out is None:
        write(signed)
