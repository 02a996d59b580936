"""Who follows docs/ledger.md to the letter has the books that it shows, to the last figure."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session

from ledger import balances, journal
from ledger.accounts import KINDS
from ledger.audit import audit
from ledger.balances import Moment
from ledger.cli import main
from ledger.database import Ledger
from ledger.export.extract import Extract
from ledger.export.names import ROOTS
from tests.test_readme import ROOT, commands_of, missing

PAGE = ROOT / "docs" / "ledger.md"
_BLOCK = re.compile(
    r"^```python\n(?P<python>.*?)^```$|^<!-- setup\n(?P<setup>.*?)^-->$|^```bash\n(?P<bash>.*?)^```$", re.M | re.S
)
_TABLE = re.compile(r"(?:^\|.*\|\n)+", re.M)
_DAY = re.compile(r"# (\d{4}-\d\d-\d\d)")
_MONEY = re.compile(r"\b\d+\.\d\d\b")
_LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")

Table = list[list[str]]
Line = tuple[str, str, str]  # account, debit, credit


class Clock:
    """Shows the day that the page says, and a second later at each look."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def turn(self, day: str) -> None:
        self.now = datetime.fromisoformat(f"{day}T09:00:00+00:00")

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def follow(page: str, clock: Clock) -> None:
    """Do what the page says, in its order, in the present folder."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    for found in _BLOCK.finditer(page):
        if found["bash"] is not None:
            for line in found["bash"].splitlines():
                run(line, clock)
        else:
            code = found["python"] or found["setup"]
            turn(code, clock)
            exec(compile("\n" * page.count("\n", 0, found.start() + 1) + code, str(PAGE), "exec"), namespace)


def turn(text: str, clock: Clock) -> None:
    if day := _DAY.match(text):
        clock.turn(day[1])


def run(line: str, clock: Clock) -> None:
    words, file = shlex.split(line, comments=True), None
    turn(line, clock)
    if not words:
        return
    if words[-2:-1] == [">"]:
        words, file = words[:-2], words[-1]
    if words[0] != "ghostledger":
        program = shutil.which(words[0], path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        assert program, f"{words[0]} is missing, which the page runs; on Debian: apt-get install {words[0]}"
        subprocess.run([program, *words[1:]], check=True, env={**os.environ, "LC_ALL": "C.UTF-8"}, timeout=120)
        return
    with redirect_stdout(io.StringIO()) as out:
        assert main(words[1:]) == 0, line
    if file is not None:
        Path(file).write_text(out.getvalue())


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """The books of who followed the page."""
    folder, clock = tmp_path_factory.mktemp("page"), Clock()
    made: dict[str, Callable[..., Ledger]] = {name: getattr(Ledger, name).__func__ for name in ("open", "create")}

    def dated(name: str) -> Any:
        return classmethod(lambda cls, place, **options: made[name](cls, place, **{**options, "clock": clock}))

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("GHOSTLEDGER", raising=False)
        for name in made:
            patch.setattr(Ledger, name, dated(name))
        follow(PAGE.read_text(), clock)
    with Ledger.open(folder / "ghostledger.db") as books:
        yield books


def tables(page: str) -> dict[str, list[Table]]:
    """The page's tables without their headings, by what the headings say."""
    found: dict[str, list[Table]] = defaultdict(list)
    for text in _TABLE.findall(page):
        rows = [[cell.strip().strip("`") for cell in line.strip("|\n").split(" |")] for line in text.splitlines()]
        found[" ".join(rows[0])].append(rows[2:])
    return found


def check_journal(page: str, session: Session) -> None:
    """The journal tables together are all that was ever posted."""
    shown: dict[str, list[Line]] = {}
    for table in tables(page)["entry account debit credit"]:
        for entry, account, debit, credit in table:
            if entry:
                title = entry
                assert title not in shown
            shown.setdefault(title, []).append((account, debit, credit))
    assert {title: sorted(lines) for title, lines in shown.items()} == posted(session)
    assert list(shown) == list(posted(session))


def posted(session: Session) -> dict[str, list[Line]]:
    extract, found = Extract(session), {}
    for entry, lines in extract.entries():
        made = sorted(line_of(extract, line.account, line.signed, line.commodity) for line in lines)
        if made:
            found[f"{entry.sequence} {entry.kind}"] = made
    return found


def line_of(extract: Extract, account: str, signed: int, commodity: str) -> Line:
    amount = f"{extract.decimal(abs(signed), commodity)} {commodity}"
    return (account, amount, "") if signed > 0 else (account, "", amount)


def check_account(page: str, session: Session) -> None:
    """An account's table is its side of the entries until the period was closed, and its balance then."""
    name = "payable:alice"
    ((*shown, last),) = tables(page)[f"{name} debit credit"]
    lines = [
        (title, debit, credit)
        for title, made in posted(session).items()
        for account, debit, credit in made
        if account == name and int(title.split()[0]) < closing(session)
    ]
    assert [tuple(row) for row in shown] == lines
    held = balances.balance(session, name, "EUR", Moment(before=closing(session)))
    assert last == ["balance", "", f"{Extract(session).decimal(held, 'EUR')} EUR"]


def closing(session: Session) -> int:
    (entry,) = [entry.sequence for entry, _ in Extract(session).entries() if entry.kind == "period"]
    return entry


def check_trial_balance(page: str, session: Session) -> None:
    """The trial balance is what was sealed: all that accounts held at the end of the day, and both sums."""
    (shown,) = tables(page)["2026-03-31 debit credit"]
    extract = Extract(session)
    moment = Moment(event_at="2026-03-31T23:59:59.999999Z")
    totals = list(balances.totals(session, moment))
    lines = [(t.account, t.debit - t.credit, t.commodity) for t in totals if t.balance]
    expected = {line_of(extract, *line) for line in lines}
    for commodity in {total.commodity for total in totals}:
        together = sum(signed for _, signed, other in lines if other == commodity and signed > 0)
        amount = f"{extract.decimal(together, commodity)} {commodity}"
        expected.add((f"**{commodity}**", amount, amount))
    assert {tuple(row) for row in shown} == expected
    assert len(shown) == len(expected)
    assert json_of(session, closing(session))["trial_balance"] == balances.seal(session, moment)


def json_of(session: Session, entry: int) -> Any:
    return json.loads(journal.entry(session, entry).payload)


def check_closing(page: str, session: Session) -> None:
    """The page knows which entry closed the period, and that its checkpoint is of everything until then."""
    last = str(closing(session))
    assert re.findall(r"closed: entry (\d+) seals[^.]*\. The operator signs a checkpoint of all (\d+),", page) == [
        (last, last)
    ]
    origin, size = (session.info["folder"] / "march.txt").read_text().splitlines()[:2]
    assert (origin, size) == ("books.example", last)


def check_prose(page: str, session: Session) -> None:
    """Money in the text is money that was moved."""
    prose = _TABLE.sub("", re.sub(r"^```.*?^```$|^<!--.*?^-->$", "", page, flags=re.M | re.S))
    moved = {amount.split()[0] for lines in posted(session).values() for line in lines for amount in line[1:] if amount}
    named = _MONEY.findall(prose)
    assert len(named) >= 2
    assert set(named) <= moved


CHECKS = {
    "journal": check_journal,
    "account": check_account,
    "trial balance": check_trial_balance,
    "closing": check_closing,
    "prose": check_prose,
}


@pytest.mark.parametrize("what", CHECKS)
def test_the_page_shows_the_books_that_following_it_makes(followed: Ledger, what: str) -> None:
    with followed.reading() as session:
        CHECKS[what](PAGE.read_text(), session)


WRONG = {
    "an amount": ("journal", "| | 292.50 EUR |", "| | 292.51 EUR |"),
    "a side": ("journal", "| | `fee` | | 25.00 EUR |", "| | `fee` | 25.00 EUR | |"),
    "an account": ("journal", "`paid:alice` | | 585.00 EUR |\n\n", "`paid:bob` | | 585.00 EUR |\n\n"),
    "an entry": ("journal", "| 25 release |", "| 26 release |"),
    "a kind": ("journal", "| 19 payout confirmed |", "| 19 payout |"),
    "a line left out": ("journal", "| | `gap` | | 0.005000000000 nat |\n", ""),
    "an account's line": ("account", "| 23 dispute ended | | 40.00 EUR |", "| 23 dispute ended | | 41.00 EUR |"),
    "an account's balance": ("account", "| balance | | 40.00 EUR |", "| balance | | 0.00 EUR |"),
    "a held amount": ("trial balance", "| `payable:bob` | | 252.50 EUR |", "| `payable:bob` | | 292.50 EUR |"),
    "a sum": ("trial balance", "| **EUR** | 1000.00 EUR |", "| **EUR** | 1000.01 EUR |"),
    "the closing entry": ("closing", "closed: entry 24", "closed: entry 23"),
    "the text": ("prose", "Alice claims 40.00 EUR", "Alice claims 44.00 EUR"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_figure_that_is_wrong_is_found(followed: Ledger, what: str) -> None:
    check, right, wrong = WRONG[what]
    page = PAGE.read_text()
    assert right in page
    with followed.reading() as session, pytest.raises(AssertionError):
        CHECKS[check](page.replace(right, wrong), session)


def test_the_chart_of_accounts_is_whole() -> None:
    (shown,) = tables(PAGE.read_text())["account normal side floor root what is on it"]
    assert shown == [
        [
            f"{name}:…" if kind.owned else name,
            kind.normal_side,
            "none" if kind.floor is None else str(kind.floor),
            ROOTS[name],
            kind.means,
        ]
        for name, kind in KINDS.items()
    ]


def test_proofs_are_as_long_as_the_page_says() -> None:
    longest = 100_000
    assert f"{(longest - 1).bit_length()} hashes in a journal of {longest:,}".replace(",", " ") in PAGE.read_text()


def test_the_books_of_the_page_pass_the_audit(followed: Ledger) -> None:
    with followed.reading() as session:
        assert audit(session).ok


def test_every_command_and_every_local_link_of_the_page_exists() -> None:
    page = PAGE.read_text()
    ours = [words for words in commands_of(page) if words[0] == "ghostledger"]
    assert len(ours) > 20
    assert [what for words in ours if (what := missing(words[: words.index(">")] if ">" in words else words))] == []
    targets = [target for target in _LINK.findall(page) if "://" not in target]
    assert [target for target in targets if not (PAGE.parent / target).exists()] == []
    named = re.findall(r"`((?:ledger|docs|scripts)/[\w/.]+)`", page)
    assert [name for name in named if not (ROOT / name).exists()] == []
