"""One publication's way to the chain: each look decides anew what is next, by what is saved and what the chain says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlmodel import Session

from ledger.chain import attempts, preconditions, publications
from ledger.chain.attempts import CANCEL, SUBMIT
from ledger.chain.booking import book_abandoned
from ledger.chain.contract import DistributorContract
from ledger.chain.evidence import View
from ledger.chain.node import Receipt
from ledger.chain.outbox import Outbox
from ledger.chain.watcher import stands, watch
from ledger.errors.chain import LyingNodeError, RevertedError
from ledger.errors.outbox import CancellationError, SubmissionRevertedError, UnknownRootError
from ledger.models import Attempt, Distributor, Publication
from ledger.publication_entries import INTENDED, PUBLISHED

Stage = Literal["intended", "sent", "mined", "cancelling", "final", "active", "revoked", "abandoned"]
ENDED: frozenset[Stage] = frozenset[Stage](("revoked", "abandoned"))
_STAGES: dict[str, Stage] = {
    "published": "final",
    "activated": "active",
    "revoked": "revoked",
    "abandoned": "abandoned",
}


@dataclass(frozen=True)
class State:
    """How far a publication is: by which transaction, how many blocks lie on top of it, and what it waits for."""

    stage: Stage
    root_id: int
    transaction: str | None = None
    depth: int | None = None
    detail: str = ""


class Submission:
    """A publication on its way. `push` looks once, and does what is next."""

    def __init__(
        self, outbox: Outbox, contract: DistributorContract, distributor: Distributor, publication: Publication
    ) -> None:
        self.books, self.node = outbox.books, outbox.node
        self.outbox, self.contract = outbox, contract
        self.distributor, self.publication = distributor, publication
        self.root_id = publication.root_id

    def push(self, cancelling: str | None = None) -> State:
        """Book what is final, and otherwise sign, save, send, send again or replace. `cancelling` is why to give up.

        Raises `SubmissionRevertedError`, `UnknownRootError`, the other errors of `preconditions`, `RevertedError`,
        `FeeCapError`, `CancellationError`, and `NodeError`s.
        """
        self.node.expect_chain(self.distributor.chain_id)
        view = View(self.node, self.distributor.confirmations)
        watch(self.books, self.node, self.distributor.id, view=view)
        with self.books.reading() as session:
            state = publications.state(session, self.publication)
            tried = attempts.of_publication(session, self.publication.entry)
        if state in _STAGES:
            lost = self._send_lost(tried) if state == PUBLISHED else ""
            return State(_STAGES[state], self.root_id, *self._where(view), lost)
        seen = {attempt.id: view.receipt(attempt.hash) for attempt in tried}  # before the root: it can only come later
        news = self._note(tried, seen)
        root = self.contract.root_of(self.root_id)
        if stands(root, self.publication):
            return self._mined(view, tried, seen)
        if cancelling is not None or any(attempt.purpose == CANCEL for attempt in tried):
            return self._cancel(view, tried, seen, cancelling or "a transaction that does nothing took its place")
        if root.exists:
            raise UnknownRootError(self.contract.address, self.root_id)
        self._assert_none_succeeded(tried, seen)
        for attempt, receipt in news:
            raise SubmissionRevertedError(attempt.hash, self._why(attempt, receipt))
        return self._send(view, tried, seen)

    # Sending

    def _send(self, view: View, tried: Sequence[Attempt], seen: dict[int, Receipt | None]) -> State:
        count = self.outbox.count()
        mine = [attempt for attempt in tried if attempt.sender == self.outbox.sender]
        waiting = [attempt for attempt in mine if attempt.nonce >= count]
        if not waiting:
            settled = {attempt.nonce for attempt in mine if seen[attempt.id] is not None}
            taken = [attempt.nonce for attempt in mine if attempt.nonce not in settled]
            if taken and max(taken) >= self._final_count(view, self.outbox.sender):
                detail = f"another transaction took nonce {max(taken)}; when that is final, the next one is used"
                return State("sent", self.root_id, mine[-1].hash, detail=detail)
        # What lies beyond a nonce that nothing is signed for cannot be mined.
        if not waiting or self.outbox.next_nonce(count) < min(attempt.nonce for attempt in waiting):
            attempt = self._sign(tried)
            mine += [attempt] if attempt else []
        notes = self.outbox.tend()
        if not mine:
            return State("intended", self.root_id, detail="; ".join(notes))
        return State("sent", self.root_id, mine[-1].hash, detail="; ".join(notes))

    def _sign(self, tried: Sequence[Attempt]) -> Attempt | None:
        preconditions.assert_same(self.contract, self.distributor)
        preconditions.assert_may_submit(self.contract, self.outbox.sender)
        preconditions.assert_funded(self.contract, self.publication.total)
        address, data = self.contract.address, submission_of(self.contract, self.publication)
        try:
            gas = self.outbox.gas(address, data)
        except RevertedError:
            if self.contract.root_of(self.root_id).exists:
                return None  # since it was looked for: the next look finds whose it is
            raise
        beside = [attempt.id for attempt in tried]
        return self.outbox.first(self.publication.entry, address, data, gas=gas, beside=beside)

    def _send_lost(self, tried: Sequence[Attempt]) -> str:
        """Send what a chain has lost that was final there: the books cannot say so, and must not hide it."""
        if stands(self.contract.root_of(self.root_id), self.publication):
            return ""
        for attempt in tried:
            if attempt.purpose == SUBMIT and attempt.nonce >= self.node.transaction_count(attempt.sender):
                self.outbox.send(attempt)
        return f"the chain has lost root {self.root_id}, which was final: it is sent again, and reconciling names it"

    # On the chain

    def _mined(self, view: View, tried: Sequence[Attempt], seen: dict[int, Receipt | None]) -> State:
        for attempt in tried:
            receipt = seen[attempt.id]
            if attempt.purpose != SUBMIT or receipt is None or not receipt.succeeded:
                continue
            if receipt.block_number <= view.final:  # then its logs have just been booked
                raise LyingNodeError("eth_getLogs", f"{attempt.hash} submitted nothing, and its receipt says it did")
            return State("mined", self.root_id, attempt.hash, view.head.number - receipt.block_number)
        return State("mined", self.root_id, detail="by a transaction that this ledger did not save")

    def _assert_none_succeeded(self, tried: Sequence[Attempt], seen: dict[int, Receipt | None]) -> None:
        for attempt in tried:
            receipt = seen[attempt.id]
            if attempt.purpose == SUBMIT and receipt is not None and receipt.succeeded:
                reason = f"{attempt.hash} succeeded, and root {self.root_id} is not there"
                raise LyingNodeError("eth_getTransactionReceipt", reason)

    def _note(self, tried: Sequence[Attempt], seen: dict[int, Receipt | None]) -> list[tuple[Attempt, Receipt]]:
        """Save what was seen; the submissions of which it is news that they reverted."""
        found = [(attempt, receipt) for attempt in tried if (receipt := seen[attempt.id]) is not None]
        with self.books.reading() as session:
            news = [(one, receipt) for one, receipt in found if attempts.is_news(session, one.id, receipt)]
        for attempt, receipt in news:
            self.books.transact(lambda session, a=attempt, r=receipt: attempts.note(session, a, r))  # type: ignore[misc]
        return [(attempt, receipt) for attempt, receipt in news if not receipt.succeeded and attempt.purpose == SUBMIT]

    def _why(self, attempt: Attempt, receipt: Receipt) -> str:
        data = submission_of(self.contract, self.publication)
        try:
            self.node.call(self.contract.address, data, block=receipt.block_number, sender=attempt.sender)
        except RevertedError as error:
            return error.reason
        return "it would succeed now: it came too early, or had too little gas"

    def _where(self, view: View) -> tuple[str | None, int | None]:
        with self.books.reading() as session:
            ends = publications.ends(session, self.publication)
        for end in ends:
            if end.change == PUBLISHED and end.block_number is not None:
                return end.transaction_hash, view.head.number - end.block_number
        return None, None

    # Giving up

    def _cancel(self, view: View, tried: Sequence[Attempt], seen: dict[int, Receipt | None], reason: str) -> State:
        self._assert_none_succeeded(tried, seen)
        if self._is_out_of_reach(view, tried) and self.books.transact(lambda one: self._abandon(one, tried, reason)):
            return State("abandoned", self.root_id, detail=reason)
        self._supersede(tried)
        notes = self.outbox.tend()
        return State("cancelling", self.root_id, tried[-1].hash if tried else None, None, "; ".join(notes))

    def _is_out_of_reach(self, view: View, tried: Sequence[Attempt]) -> bool:
        """Whether nothing that was signed can submit the root any more, by a final block."""
        if not tried:
            return True
        if view.final < self.distributor.first_block:
            return False
        root = self.contract.root_of(self.root_id, block=view.final)
        if stands(root, self.publication):
            raise LyingNodeError("eth_call", f"root {self.root_id} is there in a final block, and not in the last")
        if root.exists:
            return True  # by another tree, and ids are never given twice
        counts = {sender: self._final_count(view, sender) for sender in {attempt.sender for attempt in tried}}
        return all(attempt.nonce < counts[attempt.sender] for attempt in tried)

    def _abandon(self, session: Session, tried: Sequence[Attempt], reason: str) -> bool:
        now = [attempt.id for attempt in attempts.of_publication(session, self.publication.entry)]
        if now != [attempt.id for attempt in tried] or publications.state(session, self.publication) != INTENDED:
            return False  # somebody else was faster
        book_abandoned(session, self.publication, reason)
        return True

    def _supersede(self, tried: Sequence[Attempt]) -> None:
        beside = [attempt.id for attempt in tried]
        last = {(attempt.sender, attempt.nonce): attempt for attempt in tried}
        for (sender, nonce), attempt in last.items():
            if attempt.purpose == CANCEL or nonce < self.node.transaction_count(sender):
                continue
            if sender != self.outbox.sender:
                raise CancellationError(f"{sender} signed a submission that can still be mined: cancel with its key")
            replacement = self.outbox.replace(attempt, CANCEL, beside)
            beside += [replacement.id] if replacement else []

    def _final_count(self, view: View, sender: str) -> int:
        return self.node.transaction_count(sender, view.final) if view.final >= 0 else 0


def submission_of(contract: DistributorContract, publication: Publication) -> bytes:
    """What a publication's transaction says to the contract."""
    return contract.submit_root(publication.root_id, publication.root, publication.total, publication.metadata_hash)
