"""Addresses, publications, what the chain says of them, and claims at random. No chain is asked."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from sqlmodel import Session

from ledger.chain import addresses, distributors, publications
from tests.ledger import on_chain
from tests.ledger.reliability.machine.base import ASSETS, CRASHES, PEOPLE, WHO, Machine
from tests.ledger.reliability.model import chains

LABELS = {on_chain.key(label).address: label for name in PEOPLE for label in (name, f"{name} 2", f"{name} 3")}
ENDS = {"published": on_chain.publish, "activated": on_chain.activate, "revoked": on_chain.revoke}


class ChainRules(Machine):
    """What goes over a chain."""

    def furnish(self) -> None:
        super().furnish()
        self.step(
            lambda session: on_chain.distribute(session, asset=ASSETS[chains.ASSET]) and None,
            lambda books: books.register_distributor(),
        )
        for name in PEOPLE[:2]:
            self._set_address(name, name, None)
        self._publish(1, None)
        for change in ("published", "activated"):
            self._see(change, None)

    @rule(name=WHO, whose=WHO, number=st.sampled_from(["", " 2", " 3"]), own=st.integers(0, 4), crash=CRASHES)
    def an_address_is_set(self, name: str, whose: str, number: str, own: int, crash: int | None) -> None:
        self._set_address(name, (name if own else whose) + number, crash)

    def _set_address(self, name: str, label: str, crash: int | None) -> None:
        def asked(session: Session) -> None:
            old = addresses.address_of(session, name, on_chain.CHAIN_ID)
            on_chain.pay_to(session, name, label, approved_by=[LABELS[old]] if old else [])

        self.step(asked, lambda books: books.set_address(name, label), crash)

    @rule(data=st.data(), crash=CRASHES)
    def what_is_due_is_to_be_published(self, data: st.DataObject, crash: int | None) -> None:
        used = [one.root_id for one in self.model.publications if one.state != "abandoned"]
        self._publish(max(used, default=0) + data.draw(st.sampled_from([1, 1, 1, 1, 2, 0]), label="root"), crash)

    def _publish(self, root_id: int, crash: int | None) -> None:
        def asked(session: Session) -> int:
            plan = publications.plan(session, distributors.distributor(session), root_id)
            return publications.intend(session, plan).entry

        self.step(asked, lambda books: books.intend(root_id), crash)

    @precondition(lambda self: self.model.publications)
    @rule(data=st.data(), crash=CRASHES)
    def the_chain_is_seen(self, data: st.DataObject, crash: int | None) -> None:
        state = self.model.publications[-1].state
        follow = [change for change, after in chains.AFTER.items() if state in after]
        self._see(data.draw(st.sampled_from(follow * 3 + sorted(chains.AFTER)), label="change"), crash)

    def _see(self, change: str, crash: int | None) -> None:
        made = self.model.publications[-1].entry

        def asked(session: Session) -> int:
            found = publications.publication(session, made)
            if change == "abandoned":
                return on_chain.abandon(session, found).entry
            return ENDS[change](session, found).entry

        self.step(asked, lambda books: books.end_of(made, change), crash)

    @precondition(lambda self: self.model.publications)
    @rule(data=st.data(), crash=CRASHES)
    def tokens_are_claimed(self, data: st.DataObject, crash: int | None) -> None:
        claimable = self.model.claimable()
        label = data.draw(st.sampled_from([*sorted(claimable), *sorted(claimable), "ann"]), label="address")
        left = sum(self.model.holds[number].left for _, number in claimable.get(label, []))
        amount = data.draw(st.sampled_from([left, left, left // 2, left + 1]), label="amount")
        cumulative = self.model.claimed(label) + amount
        if cumulative < 2**256:
            self.step(
                lambda session: (
                    on_chain.claim(session, distributors.distributor(session), label, amount, cumulative).entry
                ),
                lambda books: books.claim(label, amount, cumulative),
                crash,
            )
