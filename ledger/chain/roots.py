"""Roots as the distributor has them, and what is claimed by one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OnChainRoot:
    """A root as the contract has it; where there is none, all is zero.

    Hashes are 0x and 64 digits; `activates_at` is in seconds since 1970.
    """

    id: int
    root: str
    metadata_hash: str
    total: int
    activates_at: int
    revoked: bool

    @property
    def exists(self) -> bool:
        """Whether a root of this id was submitted."""
        return int(self.root, 16) != 0


@dataclass(frozen=True)
class Claim:
    """What is claimed: `account` has earned `cumulative` in all by the root `id`, as its proof shows."""

    id: int
    account: str
    cumulative: int
    proof: tuple[bytes, ...]
