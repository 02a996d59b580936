"""`ghostledger chain address`: where contributors are paid, proved by a signature of the address's own key."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from sqlmodel import Session

from ledger.cli.chain.options import KeystoreFile, PasswordFile, SignerAddress, SignerUrl, node_at, signer_of
from ledger.cli.files import read_text, write_new
from ledger.cli.options import DEFAULT_LEDGER, AsJson, LedgerPlace
from ledger.cli.output import say, say_json, table
from ledger.database import Ledger
from ledger.errors import ProofFileError
from ledger.payout_addresses import timelines
from ledger.standing import moment

if TYPE_CHECKING:
    from ledger.chain.addresses import Check

address = typer.Typer(help="Where contributors are paid on a chain, proved by a signature of the address's own key.")

Who = Annotated[str, typer.Argument(help="Whose payouts go there.")]
Where = Annotated[str, typer.Argument(metavar="ADDRESS", help="With its checksum (EIP-55), as wallets show it.")]
Chain = Annotated[int, typer.Option("--chain-id", min=1, help="The number of the chain, such as 1 for Ethereum.")]


@address.command(epilog="Example: ghostledger chain address message alice 0x… --chain-id 1 --out alice")
def message(
    contributor: Who,
    payout_address: Where,
    chain_id: Chain,
    out: Annotated[
        str, typer.Option(metavar="NAME", help="Writes NAME.ownership.json, and NAME.change.json where one is needed.")
    ],
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Write what must be signed (EIP-712) for an address to become the contributor's.

    The address's own key signs the ownership. A change is signed too, by the old address's key or by two operators.
    """
    from ledger.chain.addresses import to_sign

    with Ledger.open(ledger) as books, books.reading() as session:
        asked = to_sign(session, contributor=contributor, chain_id=chain_id, address=payout_address)
    messages = {"ownership": asked.ownership} | ({"change": asked.change} if asked.change else {})
    files = {Path(f"{out}.{name}.json"): json.dumps(said, indent=2) + "\n" for name, said in messages.items()}
    write_new(files)
    if as_json:
        say_json({name: str(path) for name, path in zip(messages, files, strict=True)})
    else:
        for path in files:
            say(str(path))


@address.command(epilog="Example: ghostledger chain address sign alice.ownership.json --keystore alice-key.json")
def sign(
    file: Annotated[Path, typer.Argument(metavar="MESSAGE", help="What `address message` wrote.")],
    keystore: KeystoreFile = None,
    password_file: PasswordFile = None,
    signer: SignerUrl = None,
    signer_address: SignerAddress = None,
) -> None:
    """Sign such a message, and print the signature. Wallets can do the same, by eth_signTypedData_v4."""
    by = signer_of(keystore, password_file, signer, signer_address)
    try:
        said = json.loads(read_text(file))
    except ValueError as error:
        raise ProofFileError(str(file), "it is no JSON") from error
    if not isinstance(said, dict) or said.get("primaryType") not in ("PayoutAddress", "AddressChange"):
        raise ProofFileError(str(file), "it is no message of `ghostledger chain address message`, and is not signed")
    say("0x" + by.sign_typed_data(said).hex())


@address.command("set", epilog="Example: ghostledger chain address set alice 0x… --chain-id 1 --signature alice.sig")
def set_(
    contributor: Who,
    payout_address: Where,
    chain_id: Chain,
    signature: Annotated[
        str, typer.Option(metavar="HEX|FILE", help="The signature of the ownership, by the address's own key.")
    ],
    approval: Annotated[
        list[str] | None,
        typer.Option(metavar="HEX|FILE", help="Of a change: the old key's signature, or one of two operators'."),
    ] = None,
    delay_days: Annotated[int, typer.Option(min=1, help="Days until a change takes effect.")] = 7,
    contract_wallet: Annotated[
        bool, typer.Option(help="The address is a contract, which a node is asked whether it signed (EIP-1271).")
    ] = False,
    rpc: Annotated[
        str | None, typer.Option("--rpc", envvar="GHOSTLEDGER_RPC", metavar="URL", help="The node, for such a wallet.")
    ] = None,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Set where a contributor is paid: the first address at once, a change after a delay.

    In that time statements show it, nothing is published for the contributor, and another change replaces it.
    """
    from ledger.chain.addresses import set_address

    signed, approved = _signature(signature), [_signature(one) for one in approval or ()]
    check = _wallets(rpc, chain_id) if rpc is not None else None
    if contract_wallet and check is None:
        raise typer.BadParameter("a contract's signature is checked by its chain's node", param_hint="--rpc")

    def work(session: Session) -> dict[str, Any]:
        row = set_address(
            session,
            contributor=contributor,
            chain_id=chain_id,
            address=payout_address,
            signature=signed,
            approvals=approved,
            delay=timedelta(days=delay_days),
            contract_wallet=contract_wallet,
            check=check,
        )
        return {"contributor": contributor, "address": row.address, "from": row.effective_at, "entry": row.entry}

    with Ledger.open(ledger) as books:
        made = books.transact(work)
    if as_json:
        say_json(made)
    else:
        say(f"{contributor} is paid at {made['address']} from {made['from']} on, entry {made['entry']}")


@address.command("list", epilog="Example: ghostledger chain address list --chain-id 1 --json")
def list_(chain_id: Chain, ledger: LedgerPlace = DEFAULT_LEDGER, as_json: AsJson = False) -> None:
    """List the addresses in force on a chain, and the changes that wait."""
    with Ledger.open(ledger) as books, books.reading() as session:
        found = timelines(session, chain_id, moment(session))
    if as_json:
        say_json([{"contributor": who, **one.__dict__} for who, one in found.items()])
        return
    columns = ["contributor", "address", "changes to", "on"]
    table(None, columns, [[w, o.address or "", o.pending or "", o.pending_from or ""] for w, o in found.items()])


def _signature(given: str) -> bytes:
    text = given if given.startswith("0x") else read_text(Path(given)).strip()
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError as error:
        raise ProofFileError(given, "it is no signature: 0x and 130 hexadecimal digits") from error


def _wallets(url: str, chain_id: int) -> Check:
    from ledger.chain.wallets import has_signed

    node = node_at(url)
    node.expect_chain(chain_id)
    return lambda wallet, digest, signature: has_signed(node, wallet, digest, signature)
