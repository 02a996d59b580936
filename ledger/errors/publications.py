"""Errors of what is published on chains and claimed there: distributors, operators, payout addresses, publications."""

from __future__ import annotations

from collections.abc import Sequence

from ledger.errors.chain import ChainError


class DistributorError(ChainError):
    """A distributor cannot be registered as asked, or is not registered."""

    def __init__(self, distributor: str, reason: str) -> None:
        self.distributor, self.reason = distributor, reason
        super().__init__(f"distributor {distributor}: {reason}")


class OperatorError(ChainError):
    """An operator cannot be added or removed as asked."""

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason
        super().__init__(f"operator {name!r}: {reason}")


class PayoutAddressError(ChainError):
    """An address cannot become a contributor's payout address."""

    def __init__(self, contributor: str, address: str, reason: str) -> None:
        self.contributor, self.address, self.reason = contributor, address, reason
        super().__init__(f"{address} for {contributor!r}: {reason}")


class NothingDueError(ChainError):
    """Nobody is due anything that a distributor could be told to pay; `kept` are those with money, and why not."""

    def __init__(self, distributor: str, kept: Sequence[tuple[str, int, str]]) -> None:
        self.distributor, self.kept = distributor, kept
        shown = "; ".join(f"{contributor}: {reason}" for contributor, _, reason in kept[:3])
        more = f"; and {len(kept) - 3} more" if len(kept) > 3 else ""
        super().__init__(f"nothing is due by distributor {distributor}" + (f" ({shown}{more})" if kept else ""))


class PublicationOpenError(ChainError):
    """Another publication of the distributor is not over yet."""

    def __init__(self, distributor: str, root_id: int, entry: int, state: str) -> None:
        self.distributor, self.root_id, self.entry, self.state = distributor, root_id, entry, state
        super().__init__(
            f"distributor {distributor}: root {root_id} (entry {entry}) is {state}, and the next one waits until it is "
            "active in a final block, revoked or abandoned; publish again to go on with it"
        )


class PublicationError(ChainError):
    """A publication cannot be made, or cannot become what was asked for."""

    def __init__(self, publication: str, reason: str) -> None:
        self.publication, self.reason = publication, reason
        super().__init__(f"{publication}: {reason}")


class ChainClaimError(ChainError):
    """A claim that the chain shows cannot be booked."""

    def __init__(self, transaction: str, log_index: int, reason: str) -> None:
        self.transaction, self.log_index, self.reason = transaction, log_index, reason
        super().__init__(f"claim in log {log_index} of {transaction}: {reason}")
