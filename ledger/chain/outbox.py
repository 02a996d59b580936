"""One sender's transactions on one chain: signed, saved, sent, sent again, replaced. In this order, whatever happens.

What is sent was saved before, so that a program that is killed at any point finds on its return everything that may
reach the chain. Nonces are given without a gap, by what the chain has counted and what is saved.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from ledger.chain import attempts, fees
from ledger.chain.attempts import CANCEL, SUBMIT, Draft
from ledger.chain.fees import Fees
from ledger.chain.keys import Signer
from ledger.chain.node import Node
from ledger.chain.transactions import decode, transaction, transaction_hash
from ledger.database import Ledger
from ledger.errors.chain import FeeCapError, NonceTooLowError, UnderpricedError
from ledger.errors.outbox import GasMoneyError
from ledger.models import Attempt

_MARGIN = 5, 4  # of the estimated gas: what a call costs may change until it is mined


class Outbox:
    """The transactions of one signer on one chain; `fee_cap` in wei per gas, `stuck` is how long one may wait."""

    def __init__(
        self, books: Ledger, node: Node, signer: Signer, chain_id: int, *, fee_cap: int, stuck: timedelta
    ) -> None:
        self.books, self.node, self.signer, self.chain_id = books, node, signer, chain_id
        self.fee_cap, self.stuck = fee_cap, stuck

    @property
    def sender(self) -> str:
        """The address that signs."""
        return self.signer.address

    def count(self, block: int | str = "latest") -> int:
        """How many of the sender's nonces the chain has used, up to a block."""
        return self.node.transaction_count(self.sender, block)

    def gas(self, to: str, data: bytes) -> int:
        """The limit for a call: what it would take now, and a margin. Raises `RevertedError`."""
        estimate = self.node.estimate_gas({"to": to, "data": data}, sender=self.sender)
        return -(-estimate * _MARGIN[0] // _MARGIN[1])

    def fees(self, instead_of: Attempt | None = None) -> Fees:
        """The fees of an attempt, wei per gas, enough to take the place of another. Raises `FeeCapError`."""
        base_fee, priority = self.node.base_fee(), self.node.priority_fee()
        if instead_of is None:
            return fees.first(base_fee, priority, self.fee_cap)
        return fees.replacement(Fees(instead_of.max_fee, instead_of.priority_fee), base_fee, priority, self.fee_cap)

    def next_nonce(self, count: int) -> int:
        """The nonce that is to be used next, where the chain has used `count`."""
        with self.books.reading() as session:
            return attempts.free_nonce(count, attempts.live(session, self.chain_id, self.sender, count))

    def first(self, publication: int, to: str, data: bytes, *, gas: int, beside: Sequence[int]) -> Attempt | None:
        """Sign and save a submission at the next nonce; None where somebody else was faster.

        `beside` are the attempts that the publication has. Raises `FeeCapError`, and `GasMoneyError` where the sender
        cannot pay for it.
        """
        nonce = self.next_nonce(self.count())
        with self.books.reading() as session:
            before = attempts.newest(session, self.chain_id, self.sender, nonce).get(nonce)
        paying = self.fees(before)
        found = self.node.balance(self.sender)
        if found < gas * paying.max_fee:
            raise GasMoneyError(self.sender, gas * paying.max_fee, found)
        return self._save(publication, SUBMIT, nonce, to, data, gas, paying, beside, before.id if before else None)

    def replace(self, attempt: Attempt, purpose: str, beside: Sequence[int]) -> Attempt | None:
        """Sign and save another transaction at an attempt's nonce, with both fees raised; None as in `first`.

        It does the same, or, where the purpose is "cancel", nothing at all. Raises `FeeCapError`.
        """
        paying = self.fees(attempt)
        if purpose == CANCEL:
            to, data, gas = self.sender, b"", self.gas(self.sender, b"")
        else:
            _, sent = decode(attempt.raw)
            to, data, gas = sent["to"], sent["data"], sent["gas"]
        return self._save(attempt.publication, purpose, attempt.nonce, to, data, gas, paying, beside, attempt.id)

    def tend(self) -> list[str]:
        """See that every saved transaction that the chain can still take is on its way; what stands in the way.

        What the node does not know is sent, the same bytes again; what the next block would not take, or what has
        waited too long, is replaced. Raises `InsufficientFundsError` and other `NodeError`s.
        """
        count = self.count()
        with self.books.reading() as session:
            waiting = attempts.live(session, self.chain_id, self.sender, count)
        notes = []
        for nonce in sorted(waiting):
            try:
                self._tend(waiting[nonce], is_next=nonce == count)
            except FeeCapError as error:
                notes.append(str(error))
        return notes

    def send(self, attempt: Attempt) -> bool:
        """Send an attempt's bytes, which the node may know; whether its fees are enough.

        Where its nonce is used by now, whoever looks next finds by what. Raises `InsufficientFundsError`, `NodeError`s.
        """
        try:
            self.node.send(attempt.raw)
        except NonceTooLowError:
            return True
        except UnderpricedError:
            return False
        return True

    def _tend(self, attempt: Attempt, *, is_next: bool) -> None:
        if self.node.knows(attempt.hash):
            if not is_next or not self._is_stuck(attempt):
                return
        elif self.send(attempt):
            return
        with self.books.reading() as session:
            beside = [one.id for one in attempts.of_publication(session, attempt.publication)]
        replacement = self.replace(attempt, attempt.purpose, beside)
        if replacement is not None:
            self.send(replacement)

    def _is_stuck(self, attempt: Attempt) -> bool:
        if attempt.max_fee < self.node.base_fee():
            return True
        return self.books.clock() - datetime.fromisoformat(attempt.saved_at) >= self.stuck

    def _save(
        self,
        publication: int,
        purpose: str,
        nonce: int,
        to: str,
        data: bytes,
        gas: int,
        paying: Fees,
        beside: Sequence[int],
        instead_of: int | None,
    ) -> Attempt | None:
        asked = transaction(chain_id=self.chain_id, nonce=nonce, to=to, data=data, gas=gas, fees=paying)
        raw = self.signer.sign_transaction(asked)  # a signer may be far away: not while others wait to write
        draft = Draft(
            publication=publication,
            purpose=purpose,
            chain_id=self.chain_id,
            sender=self.sender,
            nonce=nonce,
            raw=raw,
            hash=transaction_hash(raw),
            gas=gas,
            fees=paying,
        )
        return self.books.transact(lambda session: attempts.save(session, draft, beside=beside, instead_of=instead_of))
