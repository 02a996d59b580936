"""What a contract returned when it refused, in words: the custom errors of the distributor and of OpenZeppelin's."""

from __future__ import annotations

from datetime import UTC, datetime
from string import Formatter

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from ledger.chain.answers import plain

_WORDS = {
    # the distributor's
    "ActiveRoot(uint256,uint64)": "root {0} is active since {1!t}, and cannot be revoked any more",
    "ClaimsArePaused()": "claims are paused by the guardian",
    "DelayOutOfBounds(uint64)": "an activation delay of {0} seconds is shorter or longer than the contract allows",
    "InactiveRoot(uint256,uint64)": "root {0} becomes active at {1!t}; claim after that",
    "InexactTransfer(uint256,uint256,uint256)": (
        "the token was to move {0}, but {1} were sent and {2} received: tokens that take fees or change balances by "
        "themselves are not supported"
    ),
    "MoreThanPromised(uint256,uint256)": "{0} would have been claimed in all, but the roots promise {1}",
    "NoAddress()": "an address is missing, or is the zero address",
    "NoRoot()": "the root is zero",
    "NotAToken(address)": "{0} is no token",
    "NotSurplus(uint256,uint256)": "{0} cannot be taken out: only {1} are nobody's to claim",
    "NotTheAccount(address,address)": "{0} is not the account {1}, which alone may have its tokens paid elsewhere",
    "NotTheGuardian(address)": "{0} is not the guardian",
    "NotThePublisher(address)": "{0} is not the publisher",
    "NothingToClaim(address,uint256,uint256)": "{0} has nothing to claim: of {1} in all, {2} are claimed",
    "OwnerNeeded()": "ownership cannot be given up",
    "RevokedRoot(uint256)": "root {0} is revoked",
    "RolesMustDiffer(address)": "{0} cannot hold two of the roles owner, publisher and guardian",
    "RootsArePaused()": "the submission of roots is paused by the guardian",
    "SignatureExpired(uint256)": "the signature was valid until {0!t}",
    "TotalFell(uint256,uint256)": "the total {0} is less than {1}, that of the root before",
    "Underfunded(uint256,uint256)": "the root promises {0}, but the distributor has and had {1}: send it more",
    "UnknownRoot(uint256)": "there is no root {0}",
    "WrongId(uint256,uint256)": "the next root's id is {1}, and not {0}",
    "WrongProof(uint256,address,uint256)": "the proof does not show that root {0} gives {1} {2} in all",
    "WrongRecipient(address)": "tokens cannot be paid to {0}",
    "WrongSignature(address)": "the signature is not one of {0} for this",
    # OpenZeppelin's
    "AddressEmptyCode(address)": "there is no contract at {0}",
    "ECDSAInvalidSignature()": "the signature is nobody's",
    "ECDSAInvalidSignatureLength(uint256)": "the signature has {0} bytes, and not 65",
    "ECDSAInvalidSignatureS(bytes32)": "the signature's s is not in the lower half",
    "ERC20InsufficientAllowance(address,uint256,uint256)": "{0} may spend {1} of the tokens, but {2} are needed",
    "ERC20InsufficientBalance(address,uint256,uint256)": "{0} has {1} of the token, but {2} are needed",
    "ERC20InvalidApprover(address)": "{0} cannot approve",
    "ERC20InvalidReceiver(address)": "{0} cannot receive the token",
    "ERC20InvalidSender(address)": "{0} cannot send the token",
    "ERC20InvalidSpender(address)": "{0} cannot be approved",
    "FailedCall()": "a call of another contract failed",
    "InsufficientBalance(uint256,uint256)": "the contract has {0}, but {1} are needed",
    "InvalidAccountNonce(address,uint256)": "the next nonce of {0} is {1}",
    "InvalidShortString()": "a short text is malformed",
    "OwnableInvalidOwner(address)": "{0} cannot be the owner",
    "OwnableUnauthorizedAccount(address)": "{0} is not the owner",
    "ReentrancyGuardReentrantCall()": "the contract was called from within its own call",
    "SafeERC20FailedDecreaseAllowance(address,uint256,uint256)": "an allowance of {0} cannot fall from {1} by {2}",
    "SafeERC20FailedOperation(address)": "the token {0} refused a transfer",
    "StringTooLong(string)": "the text {0!r} is too long",
    # Solidity's own
    "Error(string)": "{0}",
    "Panic(uint256)": "the contract's code panicked ({0:#x})",
}
_BY_SELECTOR = {keccak(text=signature)[:4]: (signature, words) for signature, words in _WORDS.items()}


class _Words(Formatter):
    def convert_field(self, value: object, conversion: str | None) -> object:
        if conversion == "t" and isinstance(value, int):
            return _instant(value)
        return super().convert_field(value, conversion)


def explain(data: bytes) -> str:
    """What a contract returned when it refused, in words; its bytes where they are of no error that is known."""
    if not data:
        return "it gives no reason"
    known = _BY_SELECTOR.get(data[:4])
    if known is None:
        return f"it gives 0x{data[:68].hex()}, which is no error of the distributor's"
    signature, words = known
    types = [kind for kind in signature[signature.index("(") + 1 : -1].split(",") if kind]
    try:
        values = decode(types, data[4:])
    except (DecodingError, ValueError, OverflowError):
        return f"it gives {signature.partition('(')[0]} with damaged values"
    shown = [to_checksum_address(v) if kind == "address" else v for kind, v in zip(types, values, strict=True)]
    shown = [f"0x{v.hex()}" if isinstance(v, bytes) else v for v in shown]
    shown = [plain(v) if isinstance(v, str) else v for v in shown]
    return _Words().format(words, *shown) or "it gives no reason"


def _instant(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{seconds} seconds after 1970"
