"""Settlements, reversals, stakes, payouts, releases and disputes at random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from sqlmodel import Session

from ledger import disputes, payouts, releases, settlement, stakes
from ledger.instants import format_instant
from ledger.money import Amount
from ledger.policies import policy
from ledger.policies.terms import Terms
from tests.ledger.reliability import model
from tests.ledger.reliability.machine.base import ASSETS, BEGAN, COMMODITIES, CRASHES, PEOPLE, WHO
from tests.ledger.reliability.machine.registry_rules import RegistryRules

BASIS_POINTS = st.sampled_from([0, 1, 250, 3333, 10_000])
DATES = [format_instant(BEGAN + timedelta(days=days)) for days in (-1, 5, 30)]
MONEY = st.integers(1, 100) | st.integers(1, 10**8) | st.integers(2**200, 2**256 - 1)

POLICIES: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "cap": st.builds(
        lambda by_amount, amount, points, redistribute: {
            "amount": str(amount) if by_amount else None,
            "basis_points": None if by_amount else points,
            "redistribute": redistribute,
        },
        st.booleans(),
        MONEY,
        BASIS_POINTS,
        st.booleans(),
    ),
    "withholding": st.builds(lambda points: {"basis_points": points}, BASIS_POINTS),
    "minimum": st.builds(lambda amount: {"amount": str(amount)}, MONEY),
    "holdback": st.builds(
        lambda points, at: {"basis_points": points, "release_at": at}, BASIS_POINTS, st.sampled_from(DATES)
    ),
    "vesting": st.builds(
        lambda now, parts: {
            "instalments": [{"release_at": None, "parts": now}] * bool(now)
            + [{"release_at": at, "parts": part} for at, part in zip(DATES, parts, strict=False)]
        },
        st.integers(0, 3),
        st.lists(st.integers(1, 5), min_size=1, max_size=3),
    ),
    "stop payment": st.just({}),
}


@st.composite
def agreed(draw: st.DrawFn) -> model.Terms:
    """Any terms: any policies, each once, in any order."""
    chosen = draw(st.lists(st.sampled_from(sorted(POLICIES)), unique=True, max_size=3))
    return model.Terms(
        draw(st.sampled_from(["pool", "rate"])),
        draw(MONEY),
        draw(st.sampled_from(COMMODITIES)),
        draw(st.sampled_from(["floor", "carry", "slash"])),
        draw(BASIS_POINTS),
        draw(st.booleans()),
        tuple({"policy": name, **draw(POLICIES[name])} for name in chosen),
    )


def terms_of(terms: model.Terms, task: str | None) -> Terms:
    policies: Sequence[Mapping[str, Any]] = terms.policies
    return Terms(
        terms.mode,  # type: ignore[arg-type]
        Amount(terms.amount, ASSETS[terms.asset]),
        terms.negative,  # type: ignore[arg-type]
        terms.fee_basis_points,
        terms.partial,
        task,
        policy.read(policies),
    )


class MoneyRules(RegistryRules):
    """What happens to money."""

    def furnish(self) -> None:
        super().furnish()
        for name in PEOPLE:
            self._stake(f"stake of {name}", name, "EUR", 500_00, back=False)
        for values in ({"ann": (3072, 0), "bea": (512, 0), "cid": (-512, 0)}, {"ann": (1024, 64), "bea": (-96, 2048)}):
            self.a_run_is_booked(values, (64, 0), (0, 0), len(self.model.runs) > 0, True, True, True, None)
        policies = (
            {"policy": "holdback", "basis_points": 1000, "release_at": DATES[1]},
            {"policy": "vesting", "instalments": [{"release_at": at, "parts": 1} for at in (None, DATES[0], DATES[2])]},
        )
        self._settle(["run 0"], None, model.Terms("pool", 1000_01, "EUR", "carry", 250, True, policies), None)
        self._send("first payout", "ann", "EUR", 100_00, None)

    def scope(self, data: st.DataObject) -> tuple[list[str], str | None]:
        labels = sorted(self.model.runs)
        runs = data.draw(st.lists(st.sampled_from(labels), min_size=1, max_size=2, unique=True), label="runs")
        return runs, data.draw(st.sampled_from([None] * 4 + ["sport", "business"]), label="task")

    def settled(self, data: st.DataObject) -> tuple[list[str], str | None]:
        other = self.scope(data)
        made = [(list(one.scope[0]), one.scope[1]) for one in self.model.settlements]
        chosen: tuple[list[str], str | None] = data.draw(st.sampled_from([*made[-4:], other]), label="settled")
        return chosen

    @precondition(lambda self: self.model.runs)
    @rule(data=st.data(), terms=agreed(), crash=CRASHES)
    def runs_are_settled(self, data: st.DataObject, terms: model.Terms, crash: int | None) -> None:
        runs, task = self.scope(data)

        self._settle(runs, task, terms, crash)

    def _settle(self, runs: list[str], task: str | None, terms: model.Terms, crash: int | None) -> None:
        def asked(session: Session) -> tuple[int, bool]:
            named = [self.identities[label] for label in runs]
            made = settlement.settle(session, named, terms_of(terms, task))
            assert made.settlement is not None
            return made.settlement.entry, made.repeated

        self.step(asked, lambda books: books.settle(runs, task, terms), crash)

    @precondition(lambda self: self.model.settlements)
    @rule(data=st.data(), reason=st.sampled_from(["wrong", "worse"]), crash=CRASHES)
    def a_settlement_is_taken_back(self, data: st.DataObject, reason: str, crash: int | None) -> None:
        runs, task = self.settled(data)
        named = [self.identities[label] for label in runs]
        self.step(
            lambda session: settlement.reverse(session, named, reason, task=task)[-1].sequence,
            lambda books: books.take_back(runs, task, reason),
            crash,
        )

    @rule(data=st.data(), name=WHO, code=st.sampled_from(COMMODITIES), back=st.booleans(), crash=CRASHES)
    def a_stake_changes(self, data: st.DataObject, name: str, code: str, back: bool, crash: int | None) -> None:
        key, account = self.key(data), (f"stake:{name}", code)
        amount = self.amount(data, account)
        if 0 < amount < 2**256:
            self._stake(key, name, code, amount, back=back, crash=crash)

    def _stake(self, key: str, name: str, code: str, amount: int, *, back: bool, crash: int | None = None) -> None:
        moved = -amount if back else amount
        lines = {("bank", code): moved, (f"stake:{name}", code): -moved}
        asked = stakes.withdraw if back else stakes.deposit
        self.step(
            lambda session: asked(session, name, Amount(amount, ASSETS[code]), key=key).entry.sequence,
            lambda books: books.use_asset(code) and books.post(f"stake {back}", key, name, lines),
            crash,
        )

    @rule(data=st.data(), whole=st.booleans(), crash=CRASHES)
    def money_is_sent(self, data: st.DataObject, whole: bool, crash: int | None) -> None:
        key, (account, code) = self.key(data), self.account(data, ["payable"])
        kind, _, name = account.partition(":")
        if kind == "payable" and name in self.model.contributors:
            self._send(key, name, code, None if whole else self.amount(data, (account, code)), crash)

    def _send(self, key: str, name: str, code: str, amount: int | None, crash: int | None) -> None:
        self.step(
            lambda session: payouts.start(session, name, code, amount, key=key).entry,
            lambda books: books.pay(key, name, code, amount),
            crash,
        )

    @precondition(lambda self: self.model.holds)
    @rule(data=st.data(), arrived=st.booleans(), crash=CRASHES)
    def a_payout_ends(self, data: st.DataObject, arrived: bool, crash: int | None) -> None:
        key = self.key(data)
        flying = [number for number, hold in self.model.holds.items() if hold.purpose == "payout" and hold.left]
        number = data.draw(st.sampled_from(flying or [1]) | st.sampled_from(sorted(self.model.holds)), label="payout")
        amount = data.draw(st.none() | st.integers(1, 12), label="amount")
        self.step(
            lambda session: (
                (
                    payouts.confirm(session, number, amount, key=key)
                    if arrived
                    else payouts.fail(session, number, "test", amount, key=key)
                ).entry.sequence
            ),
            lambda books: books.end_payout(key, number, "posted" if arrived else "voided", amount),
            crash,
        )

    @rule(crash=CRASHES)
    def what_is_due_is_released(self, crash: int | None) -> None:
        self.step(lambda session: releases.release(session).entry, lambda books: books.release(), crash)

    @precondition(lambda self: self.model.settlements)
    @rule(data=st.data(), claimant=WHO, respondent=st.none() | WHO, crash=CRASHES)
    def a_settlement_is_disputed(
        self, data: st.DataObject, claimant: str, respondent: str | None, crash: int | None
    ) -> None:
        made = data.draw(st.sampled_from(self.model.settlements), label="settlement")
        code = data.draw(st.sampled_from([made.terms.asset] * 4 + ["JPY"]), label="asset")
        amount = self.amount(data, (f"payable:{respondent}" if respondent else "house", code))
        if amount >= 2**256:
            return
        self.step(
            lambda session: (
                disputes.open_dispute(
                    session, claimant, respondent, made.entry, Amount(amount, ASSETS[code]), "0" * 64
                ).entry
            ),
            lambda books: books.open_dispute(claimant, respondent, made.entry, code, amount),
            crash,
        )

    @precondition(lambda self: self.model.disputes)
    @rule(data=st.data(), outcome=st.sampled_from(["claimant", "respondent"]), crash=CRASHES)
    def a_dispute_is_resolved(self, data: st.DataObject, outcome: str, crash: int | None) -> None:
        entry = data.draw(st.sampled_from([*sorted(self.model.disputes), 1]), label="dispute")
        self.step(
            lambda session: disputes.resolve(session, entry, outcome, "test").entry,
            lambda books: books.resolve(entry, outcome),
            crash,
        )
