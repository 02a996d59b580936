"""What docs/policies.md says is so: each example is run in books of its own, and leaves money exactly where it says.

An example is a shell block, followed by a table of every account that then holds money.
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from ledger import balances, registry
from ledger.cli.application import application
from ledger.database import Ledger
from ledger.money import NAT
from ledger.policies import POLICIES, TREATMENTS
from ledger.valuation import book_run
from tests.ledger.cli.conftest import Run
from tests.ledger.records import synthetic_record
from tests.test_readme import commands_of, missing

PAGE = Path(__file__).resolve().parents[3] / "docs" / "policies.md"
EXAMPLE = re.compile(
    r"^```bash\n(?P<commands>.*?)^```\n\n\| account \| EUR \|\n\| --- \| ---: \|\n(?P<rows>(?:\|[^\n]*\n)+)",
    re.M | re.S,
)
ROW = re.compile(r"^\| `(?P<account>[^`]+)` \| (?P<amount>-?[0-9.]+) \|$", re.M)
EXAMPLES = [(found["commands"], found["rows"]) for found in EXAMPLE.finditer(PAGE.read_text())]


RUNS = {
    "GOOD": {"alice": 0.75, "bob": 0.25},
    "ALSO_GOOD": {"alice": 0.5, "bob": 0.5},
    "BAD": {"alice": 1.0, "bob": -0.25},
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder with books in which nothing is settled yet, and what the page's names stand for in them."""
    folder, names = tmp_path_factory.mktemp("page"), {}
    with Ledger.create(folder / "ghostledger.db") as books, books.writing() as session:
        for who in ("alice", "bob", "carol", "dan"):
            registry.add_contributor(session, who)
        given = {"licence": "MIT", "consent_given_at": "2026-01-01"}
        data = {
            who: [registry.register_dataset(session, who, [who], name=who, **given).dataset.fingerprint]  # type: ignore[arg-type]
            for who in ("alice", "bob")
        }
        names["ALICES_DATA"] = data["alice"][0]
        for name, values in RUNS.items():
            both = {who: [value, value] for who, value in values.items()}
            tasks: dict[str, Any] = {"tasks": ("sport", "business"), "weights": (0.5, 0.5)}
            record = synthetic_record(both, house=(0.0, 0.0), gap=(0.0, 0.0), data=data, name=name, **tasks)
            names[name] = book_run(session, record.save(folder / name)).run.id
    return folder, names


@pytest.fixture
def runs(prepared: tuple[Path, dict[str, str]], tmp_path: Path) -> dict[str, str]:
    """What the page's names stand for, in books of the test's own."""
    folder, names = prepared
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    return names


@pytest.mark.parametrize(("commands", "rows"), EXAMPLES)
def test_an_example_of_the_page_leaves_the_money_where_it_says(
    ok: Run, runs: dict[str, str], tmp_path: Path, commands: str, rows: str
) -> None:
    for line in commands.replace("\\\n", " ").splitlines():
        for name, value in runs.items():
            line = re.sub(rf"\${name}\b", value, line)
        assert "$" not in line
        program, command, *words = shlex.split(line)
        assert program == "ghostledger"
        ok(command, *words)
    with Ledger.open(tmp_path / "ghostledger.db") as books, books.reading() as session:
        found = {total.account: total.balance for total in balances.totals(session) if total.commodity != NAT}
    stated = {row["account"]: int(row["amount"].replace(".", "")) for row in ROW.finditer(rows)}
    assert {account: amount for account, amount in found.items() if amount} == stated
    assert ok("audit --json").json["ok"]


def test_the_page_has_an_example_of_every_policy() -> None:
    told = "\n".join(commands for commands, _ in EXAMPLES)
    options = ["--cap ", "--cap-share", "--redistribute", "--withhold", "--minimum", "--holdback", "--vest", "--task"]
    for word in [*options, *(f"--negative {name}" for name in TREATMENTS if name != "floor"), "estate set", "release"]:
        assert word in told, word
    assert len(re.findall(r"^## ", PAGE.read_text(), re.M)) >= len(POLICIES)


def test_every_command_and_option_of_the_page_exists() -> None:
    assert application is not None
    assert [wrong for words in commands_of(PAGE.read_text()) if (wrong := missing(words))] == []
