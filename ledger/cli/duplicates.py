"""`ghostledger dataset duplicates`: whose records are, word for word or nearly, also another's."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from attribution.training.sources import records
from ledger import registry
from ledger.cli.options import DEFAULT_LEDGER, AsJson, Encoding, LedgerPlace, TextField
from ledger.cli.output import say, say_json, table
from ledger.cli.progress import counted, watched
from ledger.cli.registered_data import dataset_source
from ledger.database import Ledger
from ledger.near_duplicates import THRESHOLD, Pair, RecordIndex

EXAMPLE = "Example: ghostledger dataset duplicates --threshold 0.8"


def duplicates(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[PATHS]", help="Files or folders to compare with each other and all registered data."),
    ] = None,
    threshold: Annotated[
        float, typer.Option(help="How alike two records must be: 1 is the same words, 0.8 a light edit.")
    ] = THRESHOLD,
    text_field: TextField = "text",
    encoding: Encoding = "utf-8",
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Find contributors with records in common, verbatim or nearly, and show samples.

    Without paths, all registered datasets are compared, from their files. Records are compared one with one, by their
    words: who tells the same in other words, or joins records into one, is not found.
    """
    index = RecordIndex(threshold)
    given = {_label(path): path for path in paths or []}
    with Ledger.open(ledger) as books:
        with books.reading() as session:
            registered = registry.datasets(session)
        for dataset in registered:
            dataset_source(books, dataset, partial(index.watching, dataset.contributor))
    for label, path in given.items():
        for record in watched(records(path, text_field=text_field, encoding=encoding), str(path)):
            index.add(label, record)
    found = index.pairs(lambda places: counted(places, "comparing records"))
    if given:
        found = [pair for pair in found if not given.keys().isdisjoint(pair.names)]
    if as_json:
        say_json([_described(pair) for pair in found])
    else:
        _show(found, threshold)


def _label(path: Path) -> str:
    """A path as nobody is called: ids have no slash in them."""
    return str(path) if "/" in str(path) else f"./{path}"


def _described(pair: Pair) -> dict[str, Any]:
    return {
        "contributors": [
            {**asdict(side), "share": side.share, "verbatim_share": side.verbatim / side.records}
            for side in (pair.one, pair.other)
        ],
        "samples": [asdict(sample) for sample in pair.samples],
    }


def _show(found: list[Pair], threshold: float) -> None:
    if not found:
        say(f"no two contributors have a record in common (similarity {threshold:g} or more)")
        return
    rows = [
        [
            side.contributor,
            twin.contributor,
            f"{side.records:,}",
            f"{side.verbatim:,}",
            f"{side.alike:,}",
            f"{side.share:.1%}",
        ]
        for pair in found
        for side, twin in ((pair.one, pair.other), (pair.other, pair.one))
    ]
    columns = ["contributor", "other", "records", "verbatim the other's", "or nearly", "share"]
    table(f"records in common, similarity {threshold:g} or more", columns, rows, right=set(columns[2:]))
    for pair in found:
        for sample in pair.samples:
            say(f"{pair.one.contributor}, {pair.other.contributor}: {sample.similarity:.0%} alike")
            say(f"  {sample.one}")
            say(f"  {sample.other}")
