"""A ledger beside its model: every request to both, every balance after every step, and crashes in between."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import event, text
from sqlmodel import Session

from ledger import balances, journal, registry
from ledger.audit import audit
from ledger.balances import Moment
from ledger.database import Ledger
from ledger.errors import LedgerError
from ledger.instants import format_instant
from ledger.money import Asset
from tests.ledger.reliability import model
from tests.ledger.reliability.model import Account, RefusedError

T = TypeVar("T")

PEOPLE = ("ann", "bea", "cid")
STRANGER = "zoe"  # never registered
BEGAN = datetime(2026, 3, 2, tzinfo=UTC)
COMMODITIES = ("EUR", "EUR", "EUR", "JPY", "WEI")
ASSETS = {code: Asset.named(code, model.EXPONENTS[code]) for code in COMMODITIES}
PLAIN = [kind for kind in model.CHART if kind not in model.HELD | {"improvement", "value"}]

AMOUNTS = st.integers(0, 12) | st.integers(1, 10**6) | st.integers(2**255, 2**256 - 1)
WHO = st.sampled_from(PEOPLE)
CRASHES = st.one_of(*[st.none()] * 7, st.integers(1, 60))  # at which statement

Asked = Callable[[Session], Any]
Expected = Callable[[model.Books], Any]


class CrashedError(Exception):
    """The power went off."""


@contextmanager
def crashing(books: Ledger, statement: int | None) -> Iterator[None]:
    """Nothing gets to the database from this statement on; committing counts as one."""
    counted = 0

    def count(*_: Any) -> None:
        nonlocal counted
        counted += 1
        if statement is not None and counted >= statement:
            raise CrashedError

    for name in ("before_cursor_execute", "commit"):
        event.listen(books.engine, name, count)
    try:
        yield
    finally:
        for name in ("before_cursor_execute", "commit"):
            event.remove(books.engine, name, count)


def names(kinds: Sequence[str]) -> list[str]:
    """The names of all accounts of these kinds, some of them of nobody that there is."""
    owned = [f"{kind}:{name}" for kind in kinds if model.CHART[kind][1] for name in (*PEOPLE, STRANGER)]
    return [kind for kind in kinds if not model.CHART[kind][1]] + owned


class Machine(RuleBasedStateMachine):
    """One ledger and its model. Subclasses say where the ledger is made."""

    def __init__(self) -> None:
        super().__init__()
        self.model = model.Books()
        self.now = BEGAN
        self.folder = Path(tempfile.mkdtemp(prefix="ledger-machine-"))
        self.place = self.make()
        self.books = self.opened()
        self.done: list[tuple[Asked, Expected]] = []

    def make(self) -> str:
        """A new ledger's place."""
        raise NotImplementedError

    def unmake(self) -> None:
        """Take away what `make` made."""

    def opened(self) -> Ledger:
        return Ledger.open(self.place, clock=lambda: self.now)

    @initialize()
    def begin(self) -> None:
        self.model.now = format_instant(self.now)
        with self.books.reading() as session:
            self.model.say("beginning", journal.head(session)[0])
        self.model.commodities.add("nat")
        with self.books.writing() as session:
            for name in PEOPLE:
                registry.add_contributor(session, name, name.title())
                self.model.add_contributor(name, name.title())
            for code in ("EUR", "JPY"):
                registry.use_asset(session, ASSETS[code])
                self.model.use_asset(code)
        self.furnish()

    def furnish(self) -> None:
        """What is there from the beginning, so that more can be done."""

    def teardown(self) -> None:
        try:
            self.an_audit_finds_nothing()
        finally:
            self.books.close()
            self.unmake()
            shutil.rmtree(self.folder)

    # Asking

    def step(self, asked: Asked, expected: Expected, crash: int | None = None) -> str:
        """Ask the ledger and the model for the same; both do it alike, or refuse it alike, or the ledger crashes."""
        self.model.now = format_instant(self.now)
        trial = deepcopy(self.model)
        wanted, refused = None, None
        try:
            wanted = expected(trial)
        except RefusedError as refusal:
            refused = refusal
        try:
            with crashing(self.books, crash):
                got = self.books.transact(asked)
        except CrashedError:
            self.the_ledger_is_opened_again()
            return "crashed"
        except LedgerError as error:
            found = f"{type(error).__name__}: {error}"
            if refused is None or not {type(error).__name__, model.ANY} & {*refused.classes}:
                raise AssertionError(f"expected {refused or 'that it is done'}, and got {found}") from error
            return "refused"
        assert refused is None, f"did what it should refuse with {refused}"
        assert got == wanted
        known = len(self.model.entries)
        self.model = trial
        self.done.append((asked, expected))
        return "done" if len(trial.entries) > known else "done before"

    def key(self, data: st.DataObject) -> str:
        """A new key, or one that was used before."""
        fresh = f"request {len(self.model.entries)}"
        used = sorted(key for key in self.model.keys if key.startswith("request "))
        return data.draw(st.sampled_from([fresh] * 9 + used[-3:]), label="key")

    def account(self, data: st.DataObject, kinds: Sequence[str] = PLAIN) -> Account:
        """An account of one of these kinds, most often one that holds something; any at all now and then."""
        filled = sorted(
            key
            for key, held in self.model.held.items()
            if held and key[1] != "nat" and model.kind_of(key[0]) in kinds and key not in self.model.shut
        )
        somewhere = st.tuples(st.sampled_from(names(kinds)), st.sampled_from(COMMODITIES))
        anywhere = st.tuples(st.sampled_from(names(sorted(model.CHART))), st.sampled_from(COMMODITIES))
        full = st.sampled_from(filled) if filled else somewhere
        chosen: Account = data.draw(st.one_of(*[full] * 6, somewhere, somewhere, anywhere), label="account")
        return chosen

    def amount(self, data: st.DataObject, account: Account) -> int:
        """All that an account holds, a part of it, or anything."""
        held = abs(self.model.held.get(account, 0))
        some = st.sampled_from([held, held // 2, held // 3 + 1, held + 1])
        return data.draw(st.one_of(some, some, AMOUNTS), label="amount")

    def days_ago(self, data: st.DataObject) -> str | None:
        """An instant of the past, seldom of the future, or none."""
        days = data.draw(st.sampled_from([None, None, None, 0, 1, 2, 10, 40, -1]), label="days ago")
        return None if days is None else format_instant(self.now - timedelta(days=days))

    # What must hold after every step

    @invariant()
    def every_balance_agrees(self) -> None:
        with self.books.reading() as session:
            found = {(total.account, total.commodity): total.balance for total in balances.totals(session)}
            assert found == {key: held for key, held in self.model.held.items() if held or key in found}
            assert journal.last_balances(session, found) == found
            assert journal.head(session)[0] == len(self.model.entries)

    @invariant()
    def every_entry_balances(self) -> None:
        with self.books.reading() as session:
            rows = session.connection().execute(text("SELECT entry, commodity, side, amount FROM postings"))
            sums: dict[tuple[int, str], int] = {}
            for entry, commodity, side, amount in rows:
                # As it is stored: "p" and digits on SQLite, a number on PostgreSQL.
                number = int(str(amount).removeprefix("p"))
                sums[entry, commodity] = sums.get((entry, commodity), 0) + (number if side == "debit" else -number)
        assert not any(sums.values())

    # Time, crashes, and asking again

    @rule(seconds=st.sampled_from([-86_400, -1, 1, 60, 3_600, 86_400, 40 * 86_400]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule()
    def the_ledger_is_opened_again(self) -> None:
        self.books.close()
        self.books = self.opened()

    @precondition(lambda self: self.done)
    @rule(data=st.data(), crash=CRASHES)
    def something_is_asked_for_again(self, data: st.DataObject, crash: int | None) -> None:
        place = data.draw(st.integers(1, min(len(self.done), 8)), label="so many requests ago")
        self.step(*self.done[-place], crash)

    @rule(days=st.integers(-2, 60))
    def the_past_is_as_it_was(self, days: int) -> None:
        moment = format_instant(BEGAN + timedelta(days=days, seconds=1))
        with self.books.reading() as session:
            for asked, wanted in (
                (Moment(event_at=moment), self.model.balances(event_at=moment)),
                (Moment(recorded_at=moment), self.model.balances(recorded_at=moment)),
            ):
                found = {(total.account, total.commodity): total.balance for total in balances.totals(session, asked)}
                assert found == wanted

    @rule()
    def an_audit_finds_nothing(self) -> None:
        with self.books.reading() as session:
            found = audit(session)
        assert found.ok, [f"{check.name}: {check.detail}" for check in found.checks if not check.ok]
