"""What nodes say when they refuse a transaction, a range of logs or a call. There is no standard: their own texts are.

The texts are those of geth (core/txpool, core/error.go), anvil (eth/error.rs), Nethermind (AcceptTxResult, in two
generations), Erigon (txpoolcfg's DiscardReason) and Besu (RpcErrorType).
"""

from __future__ import annotations

import re

from ledger.chain.rpc import RefusedError
from ledger.errors.chain import InsufficientFundsError, NodeAnswerError, NonceTooLowError, UnderpricedError

_KNOWN = re.compile(r"already ?known|known transaction|already imported|existing txn? with same hash", re.I)

_REFUSALS: tuple[tuple[re.Pattern[str], type[NodeAnswerError]], ...] = (
    (
        re.compile(r"nonce ?(is )?too ?low|old ?nonce", re.I),
        NonceTooLowError,
    ),
    (
        re.compile(r"insufficient ?(funds|balance)|upfront cost exceeds|does(n't| not) have enough funds", re.I),
        InsufficientFundsError,
    ),
    (
        re.compile(
            r"underpriced|fee ?too ?low|replacement ?not ?allowed|could not replace existing|gas price to replace"
            r"|future transaction tries to replace|replaced by transaction with higher"
            r"|(fee cap|max fee per gas|gas ?price)[a-z ]* (less than|below|too low)",
            re.I,
        ),
        UnderpricedError,
    ),
)

_REVERTED = re.compile(r"revert|VM execution error", re.I)


def is_known(error: NodeAnswerError) -> bool:
    """Whether the node refuses a transaction because it has it already, which is success."""
    return _KNOWN.search(error.message) is not None


def named(error: NodeAnswerError) -> NodeAnswerError:
    """The error as the class that says why a transaction was refused, or as it was."""
    for pattern, kind in _REFUSALS:
        if pattern.search(error.message):
            return kind(error.method, error.message, error.code)
    return error


def revert_data(error: RefusedError) -> bytes | None:
    """What a contract returned when it refused, or None where the error is about something else."""
    data = error.data
    for _ in range(2):  # some nodes put it into an object of the same name
        if isinstance(data, dict):
            data = data.get("data", data.get("result"))
    found = re.search(r"0x((?:[0-9a-fA-F]{2})*)\s*$", data) if isinstance(data, str) else None
    if error.code == 3 or _REVERTED.search(error.message):
        return bytes.fromhex(found.group(1)) if found else b""
    return None
