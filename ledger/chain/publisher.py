"""The publisher: takes a publication from the ledger to the chain, and tells the ledger when it is there for good.

Everything is decided anew at each look, by what is saved and what the chain says. So it can be killed at any point and
started again, twice at once, and it makes one root: what may reach the chain was saved before, and the contract takes
each id once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Literal

from ledger.chain import attempts, preconditions, publications
from ledger.chain.contract import DistributorContract
from ledger.chain.distributors import distributor as distributor_of
from ledger.chain.evidence import View
from ledger.chain.fees import Fees
from ledger.chain.keys import Signer
from ledger.chain.node import Node
from ledger.chain.outbox import Outbox
from ledger.chain.publications import Plan
from ledger.chain.submission import ENDED, Stage, State, Submission
from ledger.chain.watcher import stands, watch
from ledger.database import Clock, Ledger
from ledger.errors.chain import ChainError, InsufficientFundsError, NodeError
from ledger.errors.outbox import CancellationError, PublicationPendingError
from ledger.models import Attempt, Publication

Until = Literal["sent", "final", "active"]
REACHED: dict[Until, frozenset[Stage]] = {
    "sent": frozenset[Stage](("sent", "mined", "final", "active")) | ENDED,
    "final": frozenset[Stage](("final", "active")) | ENDED,
    "active": frozenset[Stage](("active",)) | ENDED,
}


@dataclass(frozen=True)
class Patience:
    """How long a publisher waits: between two looks, until it replaces a transaction, and for a node that fails."""

    look: timedelta = timedelta(seconds=4)
    stuck: timedelta = timedelta(minutes=3)
    outage: timedelta = timedelta(minutes=1)


@dataclass(frozen=True)
class Outcome:
    """What came of publishing: the publication, how far it is, and all that was signed for it."""

    publication: Publication
    state: State
    attempts: list[Attempt] = field(default_factory=list)


@dataclass(frozen=True)
class DryRun:
    """What would be published now, with the gas and the fees (wei per gas) of the transaction."""

    plan: Plan
    gas: int
    fees: Fees

    @property
    def cost(self) -> int:
        """The most that the transaction would cost, wei."""
        return self.gas * self.fees.max_fee


class Publisher:
    """Publishes what a distributor owes. `fee_cap` is the most that a transaction may ever pay, in wei per gas.

    `wait` is called with seconds between two looks, and `progress` with what each look found.
    """

    def __init__(
        self,
        books: Ledger,
        node: Node,
        signer: Signer,
        distributor_id: int | str | None = None,
        *,
        fee_cap: int,
        clock: Clock | None = None,
        patience: Patience | None = None,
        wait: Callable[[float], object] = time.sleep,
        progress: Callable[[State], object] = lambda state: None,
    ) -> None:
        self.books, self.node, self.signer = books, node, signer
        self.clock = clock or books.clock
        self.patience = patience or Patience()
        self.wait, self.progress = wait, progress
        with books.reading() as session:
            self.distributor = distributor_of(session, distributor_id)
        chain_id = self.distributor.chain_id
        self.contract = DistributorContract(node, chain_id, self.distributor.address)
        self.outbox = Outbox(books, node, signer, chain_id, fee_cap=fee_cap, stuck=self.patience.stuck)

    def dry_run(self) -> DryRun:
        """What `publish` would begin now. Raises what it does, and writes nothing."""
        preconditions.assert_same(self.contract, self.distributor)
        plan = self._plan()
        return DryRun(plan, self.outbox.gas(self.contract.address, self._submission_of(plan)), self.outbox.fees())

    def publish(self, *, until: Until = "final", timeout: timedelta | None = None) -> Outcome:
        """Publish what is due, or go on with what is open, until it has been sent, is final, or is active.

        A node that fails for less than `patience.outage` is asked again. Raises `PublisherError`s, which say what to
        do, `RevertedError`, `FeeCapError` and `NodeError`s, and `PublicationPendingError` after the `timeout`: whatever
        is raised, nothing is lost, and publishing goes on when it is asked for again.
        """
        return self._loop(self._open() or self._intend(), REACHED[until], timeout)

    def cancel(self, reason: str, *, timeout: timedelta | None = None) -> Outcome:
        """Abandon the open publication: at once where nothing was signed for it, else when that can never be mined.

        What was sent is replaced by a transaction that does nothing. Should the root be mined before that, it is
        published, as the outcome says. Raises `CancellationError` where nothing is open, the root is on the chain, or
        another key signed; `FeeCapError`, and what `publish` does.
        """
        publication = self._open()
        if publication is None:
            raise CancellationError("no publication is open; a root that is on the chain is the guardian's to revoke")
        if stands(self.contract.root_of(publication.root_id), publication):
            raise CancellationError(f"root {publication.root_id} is on the chain: let the guardian revoke it")
        return self._loop(publication, REACHED["final"], timeout, reason)

    def step(self) -> State:
        """Look once, and do what is next: intend, sign, send, send again, replace, or book what is final."""
        publication = self._open()
        if publication is None:
            publication = self._intend()
            return State("intended", publication.root_id)
        return self._submission(publication).push()

    def _loop(
        self, publication: Publication, reached: frozenset[Stage], timeout: timedelta | None, reason: str | None = None
    ) -> Outcome:
        submission = self._submission(publication)
        started = answered = self.clock()
        state = State("intended", publication.root_id)
        while True:
            try:
                state = submission.push(reason)
                answered = self.clock()
            except InsufficientFundsError:
                raise
            except NodeError as error:
                if self.clock() - answered >= self.patience.outage:
                    raise
                state = replace(state, detail=str(error))
            self.progress(state)
            if state.stage in reached:
                with self.books.reading() as session:
                    return Outcome(publication, state, attempts.of_publication(session, publication.entry))
            if timeout is not None and self.clock() - started >= timeout:
                raise PublicationPendingError(publication.root_id, state.stage, state.detail)
            self.wait(self.patience.look.total_seconds())

    def _submission(self, publication: Publication) -> Submission:
        return Submission(self.outbox, self.contract, self.distributor, publication)

    def _open(self) -> Publication | None:
        preconditions.assert_same(self.contract, self.distributor)
        with self.books.reading() as session:
            return publications.open_publication(session, self.distributor)

    def _intend(self) -> Publication:
        """Check everything, then set aside what is due; what another publisher intended meanwhile is gone on with."""
        try:
            plan = self._plan()
            self.outbox.gas(self.contract.address, self._submission_of(plan))
            return self.books.transact(lambda session: publications.intend(session, plan))
        except ChainError:
            publication = self._open()
            if publication is None:
                raise
            return publication

    def _submission_of(self, plan: Plan) -> bytes:
        return self.contract.submit_root(plan.root_id, plan.root, plan.total, plan.metadata_hash)

    def _plan(self) -> Plan:
        view = View(self.node, self.distributor.confirmations)
        preconditions.assert_may_submit(self.contract, self.outbox.sender)
        watch(self.books, self.node, self.distributor.id, view=view)
        with self.books.reading() as session:
            before = publications.latest(session, self.distributor)
            known = (before.root_id, publications.state(session, before)) if before else None
        root_id = preconditions.next_id(self.contract, known, view)
        with self.books.reading() as session:
            plan = publications.plan(session, self.distributor, root_id)
        preconditions.assert_funded(self.contract, plan.total)
        return plan
