"""`ghostledger royalty`: value a run's contributors by given texts, and book it, to be settled as any run is."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ledger.cli.options import DEFAULT_LEDGER, AsJson, LedgerPlace
from ledger.cli.progress import advancing
from ledger.cli.run_data import run_folder, run_record
from ledger.cli.texts import TextError, read_text
from ledger.cli.valued import show_booked
from ledger.database import Ledger
from ledger.valuation import book_run

EXAMPLE = "Example: ghostledger royalty runs/monday --text answer.txt --out royalties/answer --reference invoice-17"


def royalty(
    run: Annotated[Path, typer.Argument(help="The folder of a run that was trained with --displacements.")],
    text: Annotated[
        list[Path],
        typer.Option(help="A text to divide: a UTF-8 file. Repeat it; all count alike, by their file names."),
    ],
    out: Annotated[Path, typer.Option(help="A new folder for the record.")],
    reference: Annotated[
        str | None, typer.Option(help="What the use is called, such as an invoice: another one is another record.")
    ] = None,
    tolerance: Annotated[float, typer.Option(help="The relative gap up to which the path is refined.")] = 1e-3,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Measure what each contributor's data did to the model's loss on texts, such as one that it wrote, and book it.

    Values, house and gap sum to what training took off the loss, in nats a token. The record is settled like that of a
    run: ghostledger settle OUT --pool 10.00 EUR. The same texts and reference again are the same record, booked once.
    """
    from attribution.uses.royalty import royalty as royalties  # loads torch, which few other commands need

    record, texts = run_record(run), _texts(text)
    with Ledger.open(ledger) as books:
        with advancing(None, "gradients") as advance:
            found = royalties(record, run_folder(run), texts, reference=reference, tolerance=tolerance, advance=advance)
        there = out.exists()
        found.save(out)
        try:
            booked = books.transact(lambda session: book_run(session, out))
        except BaseException:
            if not there:
                shutil.rmtree(out)
            raise
    show_booked(booked, as_json)


def _texts(paths: Sequence[Path]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for path in paths:
        if path.stem in texts:
            raise TextError(path, f"another text is called {path.stem!r} too: rename one of them")
        texts[path.stem] = read_text(path)
    return texts
