"""Entries, holds, accounts and periods at random."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from ledger import bookkeeping, holds, journal, periods
from ledger.corrections import reverse_entry
from ledger.holds import NewHold
from ledger.instants import format_instant
from ledger.lines import debit
from ledger.money import Amount
from ledger.requests import Asked
from tests.ledger.reliability import model
from tests.ledger.reliability.machine.base import AMOUNTS, ASSETS, BEGAN, COMMODITIES, CRASHES, PEOPLE, WHO, Machine
from tests.ledger.reliability.model import RefusedError

REASONS = st.sampled_from(["wrong", "worse"])
# What these tests post themselves, or what no command reverses: by the function below the one for everybody.
BELOW = ("transfer", "change", "expiry", "payout posted", "payout voided")

OTHERS = ("dispute", "publication", "claim")  # purposes of holds that have requests of their own


def stated(asked: Asked) -> str | None:
    return asked.event_at  # type: ignore[return-value]  # as `days_ago` made it


class JournalRules(Machine):
    """What an accountant does."""

    def transfer(self, data: st.DataObject, key: str) -> tuple[Asked, model.Lines]:
        """What a transfer says, and what it moves: most often out of an account that holds something."""
        by = self.account(data)
        to, amount, code = self.account(data)[0], self.amount(data, by), by[1]
        signed = -amount if model.CHART[model.kind_of(by[0])][0] == "debit" else amount
        lines = {by: signed}
        lines[to, code] = lines.get((to, code), 0) - signed
        said = [debit(by[0], code, signed), debit(to, code, -signed)]
        asked = Asked(kind="transfer", subject="test", key=key, payload={}, lines=said, event_at=self.days_ago(data))
        return asked, lines

    @rule(data=st.data(), crash=CRASHES)
    def money_moves(self, data: st.DataObject, crash: int | None) -> None:
        asked, lines = self.transfer(data, self.key(data))
        self.step(
            lambda session: journal.post(session, **asked.__dict__).entry.sequence,
            lambda books: books.post("transfer", asked.key, None, lines, event_at=stated(asked)),
            crash,
        )

    @rule(data=st.data(), times=st.integers(1, 4), crash=CRASHES)
    def money_moves_in_many_entries(self, data: st.DataObject, times: int, crash: int | None) -> None:
        keys = data.draw(st.lists(st.integers(1, 9).map("one of many {}".format), min_size=times, max_size=times))
        together = [self.transfer(data, key) for key in keys]

        def expected(books: model.Books) -> list[int]:
            try:
                return [books.post("transfer", one.key, None, lines, event_at=stated(one)) for one, lines in together]
            except RefusedError as refusal:
                raise RefusedError(model.ANY) from refusal  # for whichever of them

        self.step(lambda session: journal.post_all(session, [asked for asked, _ in together]), expected, crash)

    @rule(
        data=st.data(),
        name=WHO,
        kind=st.sampled_from(["payable", "payable", "accrued", "stake"]),
        code=st.sampled_from(COMMODITIES),
        amount=AMOUNTS,
    )
    def money_comes_in(self, data: st.DataObject, name: str, kind: str, code: str, amount: int) -> None:
        key, account = self.key(data), f"{kind}:{name}"
        self.step(
            lambda session: (
                journal.post(
                    session,
                    kind="transfer",
                    subject="test",
                    key=key,
                    payload={},
                    lines=[debit("bank", code, amount), debit(account, code, -amount)],
                ).entry.sequence
            ),
            lambda books: books.post("transfer", key, None, {("bank", code): amount, (account, code): -amount}),
        )

    @rule(data=st.data(), reason=REASONS, crash=CRASHES)
    def an_entry_is_reversed(self, data: st.DataObject, reason: str, crash: int | None) -> None:
        kinds = {number: entry.kind for number, entry in enumerate(self.model.entries, start=1)}
        moved = [number for number, entry in enumerate(self.model.entries, start=1) if entry.lines]
        which = st.sampled_from(moved[-6:]) if moved else st.nothing()
        number = data.draw(which | which | which | st.integers(1, len(kinds) + 1), label="entry")
        below = kinds.get(number) in BELOW
        reverse = holds.reverse if below else reverse_entry
        self.step(
            lambda session: reverse(session, number, reason).entry.sequence,
            lambda books: books.reverse(number, reason) if below else books.correct(number, reason),
            crash,
        )

    @rule(data=st.data(), crash=CRASHES)
    def money_leaves(self, data: st.DataObject, crash: int | None) -> None:
        key, (name, code) = self.key(data), self.account(data, ["fee", "withheld", "surplus"])
        amount = self.amount(data, (name, code))
        if code in ASSETS and amount < 2**256:
            self.step(
                lambda session: bookkeeping.remit(session, name, Amount(amount, ASSETS[code]), key=key).entry.sequence,
                lambda books: books.remit(key, name, code, amount),
                crash,
            )

    # Holds

    @rule(data=st.data(), crash=CRASHES)
    def money_is_set_aside(self, data: st.DataObject, crash: int | None) -> None:
        key, (origin, code) = self.key(data), self.account(data, ["payable", "accrued", "fee"])
        flight = st.sampled_from([f"in_flight:{name}" for name in PEOPLE])
        account = data.draw(st.one_of(flight, flight, flight, st.just(self.account(data)[0])), label="account")
        destination = data.draw(st.sampled_from(["fee", "surplus", "payable:bea", "paid:ann", "receivable:cid"]))
        amount = self.amount(data, (origin, code))
        days = st.none() | st.integers(-1, 60)
        release_at, expires_at = (
            None if ahead is None else format_instant(self.now + timedelta(days=ahead))
            for ahead in (data.draw(days, label="release"), data.draw(days, label="expiry"))
        )
        said = (account, origin, destination, code, amount, release_at, expires_at)
        self.step(
            lambda session: holds.open_hold(session, NewHold("payout", *said), key=key).entry,
            lambda books: books.open_hold(key, model.Hold(*said)),
            crash,
        )

    @precondition(lambda self: self.model.holds)
    @rule(data=st.data(), crash=CRASHES)
    def holds_change(self, data: st.DataObject, crash: int | None) -> None:
        key, at = self.key(data), self.days_ago(data)
        pending = [number for number, hold in self.model.holds.items() if hold.left and hold.purpose not in OTHERS]
        numbers = st.sampled_from(pending or [1])
        numbers = st.one_of(numbers, numbers, numbers, st.just(len(self.model.holds) + 1))
        amounts = st.none() | st.integers(0, 12) | st.integers(1, 10**6)
        changes = st.sampled_from(["posted", "voided", "expired"])
        steps = data.draw(st.lists(st.tuples(numbers, changes, amounts), min_size=1, max_size=3), label="changes")
        steps = [step for step in steps if getattr(self.model.holds.get(step[0]), "purpose", "") not in OTHERS]
        if steps:
            self.step(
                lambda session: (
                    holds.change(
                        session,
                        [holds.Change(*one) for one in steps],
                        kind="change",
                        subject="test",
                        key=key,
                        event_at=at,
                    ).entry.sequence
                ),
                lambda books: books.change_holds(key, steps, at),
                crash,
            )

    @rule(crash=CRASHES)
    def holds_expire(self, crash: int | None) -> None:
        self.step(lambda session: holds.expire_due(session).entry, lambda books: books.expire_due(), crash)

    # Accounts and periods

    @rule(data=st.data(), change=st.sampled_from(["frozen", "freed"]), crash=CRASHES)
    def an_account_is_frozen_or_freed(self, data: st.DataObject, change: str, crash: int | None) -> None:
        shut = sorted(self.model.shut)
        account = data.draw(st.sampled_from(shut)) if shut and change == "freed" else self.account(data)
        asked = bookkeeping.freeze if change == "frozen" else bookkeeping.free
        self.step(
            lambda session: asked(session, *account, "test") and None,
            lambda books: books.change_account(account, change),
            crash,
        )

    @rule(data=st.data(), crash=CRASHES)
    def an_account_is_closed(self, data: st.DataObject, crash: int | None) -> None:
        account, to = self.account(data, ["fee", "surplus", "withheld", "stake"]), self.account(data)[0]
        self.step(
            lambda session: bookkeeping.close(session, *account, to, "test") and None,
            lambda books: books.close_account(account, to),
            crash,
        )

    @rule(data=st.data(), floor=st.none() | st.integers(-(10**6), 0), crash=CRASHES)
    def an_account_is_opened(self, data: st.DataObject, floor: int | None, crash: int | None) -> None:
        account = self.account(data)
        self.step(
            lambda session: bookkeeping.open_account(session, *account, floor=floor, reason="test") and None,
            lambda books: books.open_account(account, floor),
            crash,
        )

    @rule(data=st.data(), rate=st.sampled_from(["1", "0.5", "3.7", "160.25", "0.000001"]), crash=CRASHES)
    def money_is_converted(self, data: st.DataObject, rate: str, crash: int | None) -> None:
        key, (name, given) = self.key(data), self.account(data)
        wanted = data.draw(st.sampled_from(sorted(ASSETS)), label="to")
        amount = self.amount(data, (name, given))
        if amount >= 2**256:
            return
        self.step(
            lambda session: (
                bookkeeping.convert(
                    session, name, Amount(amount, ASSETS[given]), ASSETS[wanted], rate, key=key
                ).entry.sequence
            ),
            lambda books: books.convert(key, name, amount, given, wanted, rate),
            crash,
        )

    @rule(data=st.data(), days=st.integers(-1, 3), crash=CRASHES)
    def a_period_is_closed(self, data: st.DataObject, days: int, crash: int | None) -> None:
        past = [BEGAN - timedelta(days=1), self.now - timedelta(days=days)]
        through = format_instant(data.draw(st.sampled_from(past), label="through"))
        self.step(
            lambda session: periods.close_period(session, through) and None,
            lambda books: books.close_period(through),
            crash,
        )
