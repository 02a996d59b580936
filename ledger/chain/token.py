"""An ERC-20 token, and the token that demonstrations make."""

from __future__ import annotations

from typing import Any

from ledger.chain.artifact import artifact
from ledger.chain.checksum import checksummed
from ledger.chain.node import Node, Which
from ledger.errors.chain import WrongContractError

_BUILT = artifact("DemoToken")


class Token:
    """A token by its address. Its reads raise NodeError, RevertedError, WrongContractError."""

    def __init__(self, node: Node, address: str) -> None:
        """Raises AddressError."""
        self.node, self.address = node, checksummed(address)

    def decimals(self) -> int:
        """How many digits of an amount are fractions."""
        return int(self._read("decimals"))

    def symbol(self) -> str:
        """Its short name, as its maker chose it."""
        return str(self._read("symbol"))

    def name(self) -> str:
        """Its name, as its maker chose it."""
        return str(self._read("name"))

    def balance_of(self, account: str, block: Which = "latest") -> int:
        """What an account has."""
        return int(self._read("balanceOf", account, block=block))

    def transfer(self, to: str, amount: int) -> bytes:
        """The data of a transfer by its holder."""
        return _BUILT.abi.call("transfer", checksummed(to), amount)

    def approve(self, spender: str, amount: int) -> bytes:
        """The data of an approval by the holder."""
        return _BUILT.abi.call("approve", checksummed(spender), amount)

    def mint(self, to: str, amount: int) -> bytes:
        """The data by which the owner of a demonstration's token makes more of it."""
        return _BUILT.abi.call("mint", checksummed(to), amount)

    def _read(self, function: str, *arguments: object, block: Which = "latest") -> Any:
        data = self.node.call(self.address, _BUILT.abi.call(function, *arguments), block=block)
        try:
            return _BUILT.abi.result(function, data)
        except ValueError as error:
            raise WrongContractError(self.address, f"it does not answer {function} as a token does") from error


def deployment(name: str, symbol: str, decimals: int, owner: str) -> bytes:
    """The data of the transaction that makes a demonstration's token, of which its owner makes any amount."""
    return _BUILT.creation + _BUILT.abi.constructor(name, symbol, decimals, checksummed(owner))
