"""Errors of single transactions, which somebody sends and waits for."""

from __future__ import annotations

from ledger.errors.chain import ChainError


class NotMinedError(ChainError):
    """A transaction was sent and is in no block yet."""

    def __init__(self, transaction: str) -> None:
        self.transaction = transaction
        super().__init__(f"{transaction} was sent, and is not mined yet: look for it before you send another")


class TransactionRevertedError(ChainError):
    """A transaction was mined and reverted: it paid for its gas, and changed nothing else."""

    def __init__(self, transaction: str) -> None:
        self.transaction = transaction
        super().__init__(f"{transaction} was mined and reverted: another came first; ask again to see why")


class TokenMismatchError(ChainError):
    """A token counts in other units than the asset of the ledger that it is to stand for."""

    def __init__(self, token: str, decimals: int, asset: str, exponent: int) -> None:
        self.token, self.decimals, self.asset, self.exponent = token, decimals, asset, exponent
        super().__init__(
            f"the token {token} has {decimals} decimals, and {asset} has {exponent} in this ledger: "
            "one smallest unit must be worth the other, so take another asset or token"
        )


class PasswordError(ChainError):
    """There is no password for a keystore."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)
