"""Several processes, and other programs, at one ledger at once: nothing is lost, doubled or unbalanced."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlmodel import Session, select

from ledger import balances, journal, registry
from ledger.audit import audit
from ledger.database import Ledger
from ledger.models import Entry, Settlement
from ledger.valuation import Booked
from tests.ledger import processes
from tests.ledger.conftest import DATABASES, PEOPLE
from tests.ledger.processes import Refused, adds, at_once, posts, settles
from tests.ledger.server import Server

PROCESSES = 4


def sound(books: Ledger, entries: int) -> None:
    """Asserts that the audit finds nothing, and how many entries there are."""
    with books.reading() as session:
        assert [check.detail for check in audit(session).checks if not check.ok] == []
        assert journal.head(session)[0] == entries


def entries_of(books: Ledger) -> int:
    with books.reading() as session:
        return journal.head(session)[0]


def test_what_several_register_at_once_is_all_there(books: Ledger) -> None:
    before = entries_of(books)
    names = [[f"writer-{writer}-{number}" for number in range(6)] for writer in range(PROCESSES)]
    outcomes = at_once(books.place, [[adds(name) for name in own] for own in names])
    everybody = sorted(name for own in names for name in own)
    assert max((seen for own in outcomes for seen in own), key=len) == everybody
    with books.reading() as session:
        assert [row.id for row in registry.contributors(session)] == everybody
    sound(books, before + len(everybody))


def test_the_same_request_of_several_is_one_entry_that_all_get(books: Ledger) -> None:
    before, keys = entries_of(books), [f"key-{number}" for number in range(6)]
    outcomes = at_once(books.place, [[posts(key, 5) for key in keys]] * PROCESSES)
    for answers in zip(*outcomes, strict=True):
        assert len({sequence for sequence, _ in answers}) == 1
        assert sorted(repeated for _, repeated in answers) == [False] + [True] * (PROCESSES - 1)
    sound(books, before + len(keys))
    with books.reading() as session:
        assert balances.balance(session, "escrow", "nat") == 5 * len(keys)


def test_of_several_requests_with_one_key_one_wins(books: Ledger) -> None:
    before, keys = entries_of(books), [f"key-{number}" for number in range(6)]
    requests = [[posts(key, amount) for key in keys] for amount in range(1, PROCESSES + 1)]
    outcomes = at_once(books.place, requests)
    won = 0
    for answers in zip(*outcomes, strict=True):
        assert Counter(answers)[Refused("IdempotencyConflictError")] == PROCESSES - 1
        won += sum((place + 1) for place, answer in enumerate(answers) if not isinstance(answer, Refused))
    sound(books, before + len(keys))
    with books.reading() as session:
        assert balances.balance(session, "escrow", "nat") == won


def test_several_settle_the_same_runs_once(staffed: Ledger, book: Callable[..., Booked]) -> None:
    with staffed.writing() as session:
        runs = [book(session, {"alice": 0.5, "bob": 0.25 + number}).run.id for number in range(3)]
    orders = [runs[place % 3 :] + runs[: place % 3] for place in range(PROCESSES)]
    outcomes = at_once(staffed.place, [[settles(run) for run in order] for order in orders])
    answers: dict[str, list[tuple[int, bool]]] = {run: [] for run in runs}
    for order, own in zip(orders, outcomes, strict=True):
        for run, answer in zip(order, own, strict=True):
            answers[run].append(answer)
    for given in answers.values():
        assert len({entry for entry, _ in given}) == 1
        assert sorted(repeated for _, repeated in given) == [False] + [True] * (PROCESSES - 1)
    with staffed.reading() as session:
        assert len(session.exec(select(Settlement)).all()) == 3
        owed = sum(balances.balance(session, f"payable:{name}", "EUR") for name in PEOPLE)
        others = sum(balances.balance(session, name, "EUR") for name in ("house", "gap", "fee"))
        assert owed + others == 3 * processes.POOL.amount.minor
    sound(staffed, entries_of(staffed))


def test_no_account_is_overdrawn_by_several_that_draw_on_it(books: Ledger) -> None:
    draws = 5
    funds = PROCESSES * draws - 7
    at_once(books.place, [[posts("fund", funds)]])
    before = entries_of(books)
    outcomes = at_once(
        books.place, [[posts(f"{place}-{number}", -1) for number in range(draws)] for place in range(PROCESSES)]
    )
    counted = Counter(isinstance(answer, Refused) for own in outcomes for answer in own)
    assert counted == {False: funds, True: 7}
    assert {answer for own in outcomes for answer in own if isinstance(answer, Refused)} == {
        Refused("AccountLimitError")
    }
    with books.reading() as session:
        assert balances.balance(session, "escrow", "nat") == 0
    sound(books, before + funds)


def test_a_second_writer_waits_and_sees_what_the_first_has_written(books: Ledger) -> None:
    with books.writing() as session:
        registry.add_contributor(session, "first")
        second = processes.start(books.place, [adds("second")])
        time.sleep(0.5)
        assert not second.outcomes.poll()
    assert second.result() == [["first", "second"]]


def test_a_reader_keeps_its_view_while_others_write(books: Ledger) -> None:
    with books.reading() as session:
        assert registry.contributors(session) == []
        assert processes.start(books.place, [adds("alice")]).result() == [["alice"]]
        assert registry.contributors(session) == []
        assert session.exec(select(Entry).where(Entry.subject == "alice")).all() == []
        assert audit(session).ok
    with books.reading() as session:
        assert [row.id for row in registry.contributors(session)] == ["alice"]


@pytest.mark.parametrize("database", DATABASES)
def test_a_ledger_that_several_make_at_once_is_made_once(
    request: pytest.FixtureRequest, tmp_path: Path, database: str
) -> None:
    place = str(tmp_path / "made.db")
    if database == "postgresql":
        server: Server = request.getfixturevalue("server")
        place = server.url(server.make())
    outcomes = [answer for (answer,) in at_once(place, [[processes.create]] * PROCESSES)]
    assert Counter(outcomes) == {"made": 1, Refused("DatabaseExistsError"): PROCESSES - 1}
    with Ledger.open(place) as books:
        sound(books, entries_of(books))
    assert database == "postgresql" or [path.name for path in tmp_path.iterdir()] == ["made.db"]


def test_a_deadlock_with_another_program_is_done_again_whole(server_books: Ledger, server: Server) -> None:
    """The other holds what we want and wants what we hold. It waits longer than us, so it is we who give way."""
    database, attempts = str(server_books.engine.url.database), []
    with server.connect(database) as other:
        other.execute("SET deadlock_timeout = '60s'")
        other.execute("BEGIN")
        other.execute("LOCK TABLE contributors IN ACCESS EXCLUSIVE MODE")
        waiting = threading.Thread(target=lambda: other.execute("SELECT 1 FROM head FOR UPDATE; COMMIT"))

        def work(session: Session) -> None:
            attempts.append(journal.head(session)[0])
            if len(attempts) == 1:
                waiting.start()
            registry.add_contributor(session, "alice")

        server_books.transact(work)
        waiting.join()
    assert len(attempts) == 2
    with server_books.reading() as session:
        assert [row.id for row in registry.contributors(session)] == ["alice"]
    sound(server_books, attempts[0] + 1)


def test_another_program_that_waits_for_the_head_waits_for_the_whole_transaction(
    server_books: Ledger, server: Server
) -> None:
    with server.connect(str(server_books.engine.url.database)) as other, server_books.writing() as session:
        registry.add_contributor(session, "alice")
        with pytest.raises(Exception, match="could not obtain lock"):
            other.execute("SELECT 1 FROM head FOR UPDATE NOWAIT")
