"""A chain inside this process, for where anvil is not installed: as demonstrations have it, with snapshots.

It has no waiting transactions in blocks of its choice and no reorganisations: it is for the happy path.
"""

from __future__ import annotations

from ledger.chain.local import LocalChain


class Tester(LocalChain):
    """The chain. It mines a block for each transaction."""

    def snapshot(self) -> str:
        """The chain as it is."""
        return str(self.chain.take_snapshot())

    def revert(self, snapshot: str) -> None:
        """Back to a snapshot."""
        self.chain.revert_to_snapshot(int(snapshot))
