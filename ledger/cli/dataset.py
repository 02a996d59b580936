"""`ghostledger dataset`: what contributors supplied, and whether they consent to its use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from sqlmodel import Session

from attribution.training.sources import records
from ledger import registry
from ledger.cli.options import DEFAULT_LEDGER, AsJson, Encoding, LedgerPlace, TextField, stored_path
from ledger.cli.output import say, say_json, table
from ledger.cli.progress import watched
from ledger.database import Ledger
from ledger.models import Consent, Dataset

dataset = typer.Typer(help="Register and list datasets, and withdraw or give consent to their use.")

Fingerprint = Annotated[str, typer.Argument(metavar="DATASET", help="Its fingerprint, or the first digits of it.")]
At = Annotated[str, typer.Option("--at", metavar="DATE", help="From when on: 2026-03-01, or 2026-03-01T12:00:00Z.")]


@dataset.command(
    epilog="Example: ghostledger dataset register alice articles/ --licence CC-BY-4.0 --consent-given 2026-03-01"
)
def register(
    contributor: Annotated[str, typer.Argument(help="Whose it is.")],
    path: Annotated[Path, typer.Argument(help="A text, JSON Lines or Parquet file, or a folder of them.")],
    licence: Annotated[str, typer.Option(metavar="SPDX", help="Its licence, as an SPDX expression.")],
    consent_given: Annotated[
        str, typer.Option(metavar="DATE", help="Since when its use is consented to: a date, or a date and time.")
    ],
    name: Annotated[str | None, typer.Option(help="What to call it; the file's name where it is not given.")] = None,
    text_field: TextField = "text",
    encoding: Encoding = "utf-8",
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Register a dataset by the fingerprint of its records. The records themselves are not kept.

    An exact duplicate of a registered dataset is refused; records shared with other datasets are reported.
    """

    def work(session: Session) -> tuple[registry.RegisteredDataset, dict[str, Any]]:
        registry.contributor(session, contributor)
        found = registry.register_dataset(
            session,
            contributor,
            watched(records(path, text_field=text_field, encoding=encoding), str(path)),
            name=name or path.resolve().name,
            licence=licence,
            consent_given_at=consent_given,
            paths=[stored_path(path, books)],
            text_field=text_field,
            encoding=encoding,
        )
        return found, _described(session, found.dataset)

    with Ledger.open(ledger) as books:
        found, described = books.transact(work)
    overlaps = [
        {
            "dataset": overlap.fingerprint,
            "contributor": overlap.contributor,
            "name": overlap.name,
            "shared_records": overlap.shared_records,
        }
        for overlap in found.overlaps
    ]
    if as_json:
        say_json({**described, "overlaps": overlaps})
        return
    say(f"fingerprint  {found.dataset.fingerprint}")
    say(f"records      {found.dataset.record_count:,}")
    say(f"bytes        {found.dataset.byte_count:,}")
    say(f"licence      {found.dataset.licence}")
    for overlap in found.overlaps:
        share = overlap.shared_records / found.dataset.record_count
        say(
            f"overlap      {overlap.shared_records:,} records ({share:.1%}) are also in "
            f"{overlap.name!r} of {overlap.contributor}"
        )


@dataset.command(epilog="Example: ghostledger dataset withdraw-consent 3f9a01c2 --at 2026-06-01")
def withdraw_consent(
    dataset: Fingerprint, at: At, ledger: LedgerPlace = DEFAULT_LEDGER, as_json: AsJson = False
) -> None:
    """Record that consent ends. Runs that began before stay valid; later ones may not use the data."""
    with Ledger.open(ledger) as books:
        change = books.transact(lambda session: registry.withdraw_consent(session, dataset, at))
    _say_change(change, as_json)


@dataset.command(epilog="Example: ghostledger dataset give-consent 3f9a01c2 --at 2026-07-01")
def give_consent(dataset: Fingerprint, at: At, ledger: LedgerPlace = DEFAULT_LEDGER, as_json: AsJson = False) -> None:
    """Record that consent is given again."""
    with Ledger.open(ledger) as books:
        change = books.transact(lambda session: registry.give_consent(session, dataset, at))
    _say_change(change, as_json)


@dataset.command("list", epilog="Example: ghostledger dataset list --contributor alice")
def list_(
    contributor: Annotated[str | None, typer.Option(help="Only this contributor's.")] = None,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """List datasets in the order of their registration."""
    with Ledger.open(ledger) as books, books.reading() as session:
        if contributor is not None:
            registry.contributor(session, contributor)
        found = [_described(session, row) for row in registry.datasets(session, contributor)]
    if as_json:
        say_json(found)
        return
    rows = [
        [
            row["fingerprint"][:12],
            row["contributor"],
            row["name"],
            row["licence"],
            f"{row['records']:,}",
            f"{row['bytes']:,}",
            "; ".join(f"{change['change']} {change['from'][:10]}" for change in row["consent"]) or "none",
        ]
        for row in found
    ]
    columns = ["dataset", "contributor", "name", "licence", "records", "bytes", "consent"]
    table(None, columns, rows, right={"records", "bytes"})


def _described(session: Session, row: Dataset) -> dict[str, Any]:
    return {
        "fingerprint": row.fingerprint,
        "contributor": row.contributor,
        "name": row.name,
        "licence": row.licence,
        "records": row.record_count,
        "bytes": row.byte_count,
        "paths": row.paths,
        "entry": row.entry,
        "consent": [
            {"change": change.change, "from": change.effective_at, "entry": change.entry}
            for change in registry.consents(session, row.fingerprint)
        ],
    }


def _say_change(change: Consent, as_json: bool) -> None:
    if as_json:
        say_json(
            {"dataset": change.dataset, "change": change.change, "from": change.effective_at, "entry": change.entry}
        )
    else:
        say(f"consent for {change.dataset[:12]} is {change.change} from {change.effective_at}: entry {change.entry}")
