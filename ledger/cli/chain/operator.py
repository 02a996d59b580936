"""`ghostledger chain operator`: who may approve, two together, that a payout address changes without its old key."""

from __future__ import annotations

from typing import Annotated

import typer

from ledger.cli.options import DEFAULT_LEDGER, AsJson, LedgerPlace
from ledger.cli.output import say, say_json, table
from ledger.database import Ledger

operator = typer.Typer(help="Who may approve, two together, that a payout address changes without its old key.")

Name = Annotated[str, typer.Argument(help="What the operator is called.")]


@operator.command(epilog="Example: ghostledger chain operator add olga 0x52908400098527886E0F7030069857D2E4169EE7")
def add(
    name: Name,
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="The address of the operator's key.")],
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Let somebody approve from now on."""
    from ledger.chain.operators import add_operator

    with Ledger.open(ledger) as books:
        entry = books.transact(lambda session: add_operator(session, name, address).entry)
    if as_json:
        say_json({"name": name, "address": address, "entry": entry})
    else:
        say(f"operator {name} approves by {address}, entry {entry}")


@operator.command(epilog="Example: ghostledger chain operator remove olga")
def remove(name: Name, ledger: LedgerPlace = DEFAULT_LEDGER, as_json: AsJson = False) -> None:
    """Let somebody approve nothing from now on; what was approved stays so."""
    from ledger.chain.operators import remove_operator

    with Ledger.open(ledger) as books:
        entry = books.transact(lambda session: remove_operator(session, name).entry)
    if as_json:
        say_json({"name": name, "entry": entry})
    else:
        say(f"operator {name} is removed, entry {entry}")


@operator.command("list", epilog="Example: ghostledger chain operator list --json")
def list_(ledger: LedgerPlace = DEFAULT_LEDGER, as_json: AsJson = False) -> None:
    """List the operators."""
    from ledger.chain.operators import operators

    with Ledger.open(ledger) as books, books.reading() as session:
        found = operators(session)
    if as_json:
        say_json([{"name": name, "address": address} for name, address in found.items()])
    else:
        table(None, ["name", "address"], list(found.items()))
