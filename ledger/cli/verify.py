"""`ghostledger verify`: check a statement, a checkpoint or a proof without the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ledger.cli.files import read_checkpoint, read_text, read_verifier
from ledger.cli.options import AsJson
from ledger.cli.output import say, say_json
from ledger.errors import ConsistencyProofError, OriginError, ProofError, ProofFileError, SignatureError
from ledger.proofs.checkpoint import Checkpoint, Continuation, open_checkpoint
from ledger.proofs.note import VerifierKey
from ledger.proofs.verification import Verified, verify_statement

EXAMPLE = (
    "Example: ghostledger verify alice.json --key ledger.example+1a2b3c4d+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
)
FAILED = 1  # exit code
_SHOWN_FAULTS = 50


def verify(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A statement with proofs, a checkpoint, or a proof that one continues."),
    ],
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A checkpoint of the ledger that you kept yourself.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY|FILE", help="The ledger's verifier key, as `ghostledger key` printed it, or its file."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a file against the ledger's key, a checkpoint that you kept, or both. No ledger and no network is needed.

    A checkpoint alone will do for a statement that was made as of it; what came later is vouched for by the key.

    The exit code is 1 where anything does not hold: a figure that does not follow from what is proved, an entry that is
    not in the log, a signature by somebody else, history that was rewritten since your checkpoint.
    """
    public = None if key is None else read_verifier(key)
    kept = None if checkpoint is None else read_checkpoint(checkpoint)[1]
    text = read_text(file)
    try:
        found = _found(file, text, public, kept)
    except (SignatureError, ConsistencyProofError, OriginError) as error:
        found = {"ok": False, "faults": [str(error)]}
    except ProofError as error:
        raise ProofFileError(str(file), str(error)) from error
    if as_json:
        say_json(found)
    else:
        _show(found)
    if not found["ok"]:
        raise typer.Exit(FAILED)


def _found(file: Path, text: str, key: VerifierKey | None, kept: Checkpoint | None) -> dict[str, Any]:
    if text.startswith("old "):
        return _continuation(Continuation.parse(text), key, kept)
    if text.lstrip().startswith("{"):
        if key is None and kept is None:
            raise typer.BadParameter("a statement's checkpoint is anybody's without --key or --checkpoint")
        return _statement(verify_statement(text, key=key, kept=kept))
    if key is None:
        raise typer.BadParameter("a checkpoint is anybody's without the ledger's key", param_hint="--key")
    found = open_checkpoint(text, key)
    if kept is not None:
        raise typer.BadParameter(f"{file} is a checkpoint; verify the proof that it continues the other one")
    return {"ok": True, "what": "checkpoint", **_place(found), "faults": []}


def _continuation(proof: Continuation, key: VerifierKey | None, kept: Checkpoint | None) -> dict[str, Any]:
    if kept is None or key is None:
        raise typer.BadParameter("give both the older checkpoint that you kept, --checkpoint, and the ledger's --key")
    newer = open_checkpoint(proof.checkpoint, key)
    proof.verify(kept, newer)
    return {"ok": True, "what": "continuation", "older": kept.size, **_place(newer), "faults": []}


def _statement(found: Verified) -> dict[str, Any]:
    return {
        "ok": found.ok,
        "what": "statement",
        "contributor": found.contributor,
        **_place(found.checkpoint),
        "entries": found.entries,
        "postings": found.postings,
        "figures": found.figures,
        "faults": list(found.faults),
    }


def _place(checkpoint: Checkpoint) -> dict[str, Any]:
    return {"origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.hex()}


def _show(found: dict[str, Any]) -> None:
    for fault in found["faults"][:_SHOWN_FAULTS]:
        say(f"FAILS: {fault}")
    if len(found["faults"]) > _SHOWN_FAULTS:
        say(f"and {len(found['faults']) - _SHOWN_FAULTS} more")
    if not found["ok"]:
        say("this does not hold")
        return
    log = f"the log {found['origin']} of {found['size']:,} entries, root {found['root']}"
    if found["what"] == "statement":
        entries, postings = f"{found['entries']:,} entries", f"{found['postings']:,} postings"
        say(f"{entries} and {postings} of {found['contributor']} are in {log}")
        say(f"all {found['figures']:,} values of the statement follow from them; only made_at is the operator's word")
    elif found["what"] == "continuation":
        say(f"{log} begins with the {found['older']:,} entries of your checkpoint, unchanged")
    else:
        say(f"the key signed {log}")
