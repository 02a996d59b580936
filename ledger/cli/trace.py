"""`ghostledger trace`: which training samples and contributors speak for a text."""

from __future__ import annotations

from dataclasses import asdict
from fractions import Fraction
from math import lcm
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attribution.record import RunRecord
from ledger.cli.options import DEFAULT_LEDGER, AsJson, LedgerPlace
from ledger.cli.output import say, say_json, table
from ledger.cli.progress import advancing
from ledger.cli.run_data import kept_sources, run_folder, run_record, run_sources
from ledger.cli.texts import read_text
from ledger.cli.typed import amount
from ledger.database import Ledger
from ledger.errors import LedgerError
from ledger.money import Amount
from ledger.split import largest_remainder

if TYPE_CHECKING:
    from attribution.uses.trace import Found, Traced

EXAMPLE = "Example: ghostledger trace runs/monday --text answer.txt --royalty 10.00 EUR"

_SHARE_DECIMALS = 12
_SHOWN_CHARACTERS = 160


class NoRoyaltyError(LedgerError):
    """Nobody's data speaks for the text, so that there is nobody to pay."""

    def __init__(self) -> None:
        super().__init__("no contributor's data speaks for the text: every total is 0 or less, so there are no shares")


def trace(
    run: Annotated[Path, typer.Argument(help="The folder that train wrote.")],
    text: Annotated[Path, typer.Option(help="The text to trace: a UTF-8 file.")],
    keep: Annotated[
        Path | None, typer.Option(help="The keep list that the run was trained on, where it was on one.")
    ] = None,
    royalty: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="AMOUNT ASSET", help="Divide this by the shares, to the last unit."),
    ] = None,
    preconditioner: Annotated[
        str, typer.Option(help="identity, diagonal, or kronecker: by which product gradients are compared.")
    ] = "identity",
    normalise: Annotated[
        str, typer.Option(help="Divide a sample's score by nothing (none), its tokens, or its gradient's length.")
    ] = "none",
    show: Annotated[int, typer.Option(min=0, help="How many samples to show.")] = 10,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Rank the run's training samples and contributors for a text, by the gradients' dot products.

    At the model's final parameters. Only data that is consented to now is read. A
    contributor's royalty share is its total, where that is above 0; nothing is booked.
    """
    from attribution.uses.scoring import Measure  # loads torch, which few other commands need
    from attribution.uses.trace import trace as traced

    measure = Measure(preconditioner, normalise)
    asked = read_text(text)
    record = run_record(run)
    with Ledger.open(ledger) as books:
        money = None
        if royalty is not None:
            with books.reading() as session:
                money = amount(session, " ".join(royalty))
        sources = kept_sources(record, run_sources(books, record), keep)
    with advancing(None, "scoring samples") as advance:
        found = traced(record, run_folder(run), sources, asked, measure=measure, show=show, advance=advance)
    if money is not None and not found.shares:
        raise NoRoyaltyError
    if as_json:
        say_json({**_json(record, found, money), **asdict(measure)})
    else:
        _show(found, money)


def _divided(shares: dict[str, Fraction], total: int) -> dict[str, int]:
    """Whole units that sum to `total` exactly."""
    denominator = lcm(*(share.denominator for share in shares.values()))
    numerators = {name: int(share * denominator) * total for name, share in shares.items()}
    return largest_remainder(numerators, denominator, total)


def _json(record: RunRecord, found: Traced, money: Amount | None) -> dict[str, Any]:
    shares = _divided(found.shares, 10**_SHARE_DECIMALS) if found.shares else {}
    paid = {} if money is None else _divided(found.shares, money.minor)
    return {
        "run": record.identity,
        "tokens": found.tokens,
        "contributors": [
            {
                "contributor": name,
                "samples": found.samples[name],
                "score": total,
                "share": _share(shares[name]) if shares else None,
                "royalty": None if money is None else money.asset.format(paid[name]),
            }
            for name, total in _ranked(found)
        ],
        "asset": None if money is None else money.asset.code,
        "top": [_sample(one) for one in found.top],
        "bottom": [_sample(one) for one in found.bottom],
    }


def _sample(one: Found) -> dict[str, Any]:
    return {
        "contributor": one.contributor,
        "dataset": one.dataset,
        "record": one.record,
        "piece": one.piece,
        "score": one.score,
        "text": one.text,
    }


def _show(found: Traced, money: Amount | None) -> None:
    shares = found.shares
    paid = None if money is None else _divided(shares, money.minor)
    rows = [
        [
            name,
            f"{found.samples[name]:,}",
            f"{total:+.6g}",
            f"{float(shares[name]):.2%}" if shares else "–",
            *([] if money is None or paid is None else [money.asset.format(paid[name])]),
        ]
        for name, total in _ranked(found)
    ]
    columns = ["contributor", "samples", "score", "share", *([] if money is None else [f"royalty, {money.asset}"])]
    table(f"whose data speaks for the text, of {found.tokens:,} tokens", columns, rows, right=set(columns[1:]))
    for number, one in enumerate(found.top, start=1):
        place = f"record {one.record} of {one.dataset[:12]}" + (f", piece {one.piece}" if one.piece else "")
        words = " ".join(one.text.split())[:_SHOWN_CHARACTERS]
        say(f"{number:>3}  {one.score:+.6g}  {one.contributor}, {place}: {words}")


def _ranked(found: Traced) -> list[tuple[str, float]]:
    return sorted(found.totals.items(), key=lambda item: (-item[1], item[0]))


def _share(units: int) -> str:
    whole, rest = divmod(units, 10**_SHARE_DECIMALS)
    return f"{whole}.{rest:0{_SHARE_DECIMALS}d}"
