"""A chain inside this process, for demonstrations and tests: eth-tester on py-evm, answering as a node does.

Its money is worth nothing, and it ends with the process. Needs the extra `local-chain`.
"""

from __future__ import annotations

import ast
from typing import Any, cast

from eth.vm.forks.cancun import CancunVM
from eth_abi.abi import encode
from eth_tester import EthereumTester, PyEVMBackend
from eth_tester.exceptions import TransactionFailed, ValidationError
from eth_utils.address import to_checksum_address
from eth_utils.exceptions import ValidationError as EthValidationError
from web3 import Web3
from web3.providers import BaseProvider
from web3.providers.eth_tester import EthereumTesterProvider

from ledger.chain.node import Node


class LocalChain:
    """The chain. It mines a block for each transaction."""

    def __init__(self) -> None:
        self.chain = EthereumTester(PyEVMBackend(vm_configuration=((0, CancunVM),)))
        self._provider = _Provider(self.chain)

    def node(self) -> Node:
        """What the ledger sees of it."""
        return Node(self._provider)

    def fund(self, address: str, wei: int = 10**20) -> None:
        """Give an address money for gas."""
        rich = self.chain.get_accounts()[0]
        self.chain.send_transaction({"from": rich, "to": address, "value": wei, "gas": 21_000})

    def mine(self, blocks: int = 1, seconds_apart: int = 1) -> None:
        """Add blocks."""
        for _ in range(blocks):
            self.pass_time(seconds_apart)

    def pass_time(self, seconds: int) -> None:
        """Add a block that is so many seconds later."""
        latest = self.chain.get_block_by_number("latest")["timestamp"]
        pending = self.chain.get_block_by_number("pending")["timestamp"]
        self.chain.time_travel(max(latest + seconds, pending))
        self.chain.mine_block()


class _Provider(BaseProvider):
    """Answers in JSON as nodes do, where web3's own provider gives Python's values and raises Python's errors."""

    def __init__(self, chain: EthereumTester) -> None:
        super().__init__()
        self._web3 = Web3(EthereumTesterProvider(chain), middleware=[])

    def make_request(self, method: Any, params: Any) -> Any:
        provider = cast(EthereumTesterProvider, self._web3.provider)
        try:
            answer = provider.request_func(self._web3, self._web3.middleware_onion)(method, params)
        except TransactionFailed as error:
            return _error(3, "execution reverted", "0x" + _returned(error).hex())
        except (ValidationError, EthValidationError) as error:
            return _error(-32_000, str(error), None)
        if answer.get("error"):
            return dict(answer)
        return {"jsonrpc": "2.0", "id": 1, "result": _json(answer["result"])}


def _error(code: int, message: str, data: str | None) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": message, "data": data}}


def _returned(error: TransactionFailed) -> bytes:
    """What the contract returned, which both libraries have put into words: Python's bytes, or a text it gave."""
    reason = str(error.args[0]).removeprefix("execution reverted: ")
    if reason.startswith(("b'", 'b"')):
        return bytes(ast.literal_eval(reason))
    return bytes.fromhex("08c379a0") + encode(["string"], [reason])


def _json(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return hex(value)
    if isinstance(value, bytes):
        return to_checksum_address(value) if len(value) == 20 else "0x" + value.hex()
    if isinstance(value, dict) or hasattr(value, "items"):
        return {name: _json(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json(each) for each in value]
    return value
