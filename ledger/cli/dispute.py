"""`ghostledger dispute`: claims to what a settlement gave to another, held until they are decided."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlmodel import Session

from ledger import appeals, disputes, registry
from ledger.cli.options import DEFAULT_LEDGER, AsJson, LedgerPlace
from ledger.cli.output import say, say_json, table
from ledger.cli.typed import amount as typed_amount
from ledger.database import Ledger
from ledger.errors import DisputeError
from ledger.models import Commodity, Dispute, Resolution
from ledger.money import format_units

dispute = typer.Typer(help="Open, resolve and list disputes about what settlements gave to whom.")

Key = Annotated[str | None, typer.Option(help="The request's own name; by default it goes by its content.")]


@dispute.command(
    "open",
    epilog="Example: ghostledger dispute open --by alice --against bob --settlement 17 --amount '100.00 EUR' "
    "--evidence letter.pdf",
)
def open_(
    by: Annotated[str, typer.Option(metavar="CONTRIBUTOR", help="Who claims.")],
    settlement: Annotated[int, typer.Option(metavar="ENTRY", help="The settlement's entry.")],
    evidence: Annotated[Path, typer.Option(metavar="FILE", help="What shows it; its SHA-256 is kept, not the file.")],
    amount: Annotated[
        str | None,
        typer.Option(
            metavar="'AMOUNT ASSET'", help="How much is claimed; by default what --calls-for would give more."
        ),
    ] = None,
    calls_for: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Be paid by this valuation: one that the runs carry, or a dearer one to come."
        ),
    ] = None,
    against: Annotated[str | None, typer.Option(metavar="CONTRIBUTOR", help="Who was given it.")] = None,
    against_house: Annotated[bool, typer.Option("--against-house", help="The house was given it.")] = False,
    reason: Annotated[str | None, typer.Option(help="Why: it is kept with the entry.")] = None,
    key: Key = None,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Claim what a settlement gave to another contributor, or to the house. It is held until the dispute is resolved.

    What was paid out already cannot be held, and is refused with what is left. The same claim again is the first. What
    a claimant wins by calling for another valuation is not what is held: all are settled anew by it.
    """
    if (against is None) != against_house:
        raise DisputeError("say who was given it: --against CONTRIBUTOR, or --against-house")
    if amount is None and calls_for is None:
        raise DisputeError("say how much is claimed: --amount '100.00 EUR', or --calls-for a valuation")
    digest = _digest(evidence)

    def work(session: Session) -> dict[str, Any]:
        if amount is not None:
            claimed = typed_amount(session, amount)
        else:
            claimed = appeals.difference(session, settlement, by, str(calls_for))
        options = {"calls_for": calls_for, "key": key, "reason": reason}
        made = disputes.open_dispute(session, by, against, settlement, claimed, digest, **options)
        return _described(session, made)

    with Ledger.open(ledger) as books:
        made = books.transact(work)
    if as_json:
        say_json(made)
    else:
        say(f"dispute {made['dispute']}: {_claim(made)}; evidence {digest}")


@dispute.command(epilog="Example: ghostledger dispute resolve 23 --for claimant --reason 'the letter is genuine'")
def resolve(
    dispute: Annotated[int, typer.Argument(metavar="ENTRY", help="The entry that opened it.")],
    outcome: Annotated[str, typer.Option("--for", metavar="claimant|respondent", help="Who is right.")],
    reason: Annotated[str, typer.Option(help="Why: it is kept with the entry.")],
    key: Key = None,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Decide a dispute: what it holds goes to the claimant, through their estate, or back to the respondent.

    Where the claimant is right and called for another valuation, what it holds goes back, the settlement is reversed,
    and its runs are settled by that valuation on the same terms. They must carry it by then: see `valuation add`.
    """

    def work(session: Session) -> dict[str, Any]:
        appeals.resolve(session, dispute, outcome, reason, key=key)
        return _described(session, disputes.dispute(session, dispute))

    with Ledger.open(ledger) as books:
        made = books.transact(work)
    if as_json:
        say_json(made)
    else:
        say(f"dispute {dispute} is resolved for the {outcome} by entry {made['resolution']}: {_claim(made)}")
        if made.get("settled_anew"):
            by_it = f"by it, {made['claimant']} would have been given {made['payout_by_it']} {made['asset']}"
            say(f"settled anew by valuation {made['calls_for']}, entry {made['settled_anew']}; {by_it}")


@dispute.command("list", epilog="Example: ghostledger dispute list --open")
def list_(
    contributor: Annotated[str | None, typer.Option(help="Only those of this contributor, on either side.")] = None,
    only_open: Annotated[bool, typer.Option("--open", help="Only those that nobody has resolved.")] = False,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """List disputes in the order in which they were opened."""
    with Ledger.open(ledger) as books, books.reading() as session:
        if contributor is not None:
            registry.contributor(session, contributor)
        rows = disputes.open_disputes(session) if only_open else disputes.disputes(session)
        chosen = [row for row in rows if contributor in (None, row.claimant, row.respondent)]
        found = [_described(session, row) for row in chosen]
    if as_json:
        say_json(found)
        return
    columns = ["dispute", "claimant", "respondent", "settlement", "amount", "evidence", "state"]
    shown = [
        [
            row["dispute"],
            row["claimant"],
            row["respondent"] or "the house",
            row["settlement"],
            f"{row['amount']} {row['asset']}",
            row["evidence"][:12],
            f"for the {row['outcome']}, entry {row['resolution']}" if row["outcome"] else "open",
        ]
        for row in found
    ]
    table(None, columns, shown, right={"dispute", "settlement", "amount"})


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DisputeError(f"evidence {path}: cannot be read: {error.strerror or error}") from error


def _claim(made: dict[str, Any]) -> str:
    gave = f"settlement {made['settlement']} gave {made['respondent'] or 'the house'}"
    called = f", and calls for valuation {made['calls_for']}" if "calls_for" in made else ""
    return f"{made['claimant']} claims {made['amount']} {made['asset']} that {gave}{called}"


def _described(session: Session, row: Dispute) -> dict[str, Any]:
    commodity = session.get_one(Commodity, row.asset)
    ended = disputes.resolution_of(session, row.entry)
    return {
        "dispute": row.entry,
        "claimant": row.claimant,
        "respondent": row.respondent,
        "settlement": row.settlement,
        "amount": format_units(row.amount, commodity.exponent),
        "asset": row.asset,
        "evidence": row.evidence,
        "outcome": ended.outcome if ended else None,
        "resolution": ended.entry if ended else None,
        **(_called_for(session, row, ended, commodity.exponent) if row.calls_for else {}),
    }


def _called_for(session: Session, row: Dispute, ended: Resolution | None, exponent: int) -> dict[str, Any]:
    upheld = ended is not None and ended.payout is not None
    anew = appeals.settled_anew(session, row) if upheld else None
    return {
        "calls_for": row.calls_for,
        "payout_by_it": format_units(ended.payout, exponent) if ended and ended.payout is not None else None,
        "settled_anew": anew.entry if anew else None,
    }
