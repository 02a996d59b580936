"""What docs/policies.md says is so: each example is run in books of its own, and leaves money exactly where it says.

An example is a shell block, followed by a table of every account that then holds money.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from ledger import balances
from ledger.cli.application import application
from ledger.database import Ledger
from ledger.money import NAT
from ledger.policies import POLICIES, TREATMENTS
from tests.ledger.cli.conftest import Run
from tests.test_readme import commands_of, missing

PAGE = Path(__file__).resolve().parents[3] / "docs" / "policies.md"
EXAMPLE = re.compile(
    r"^```bash\n(?P<commands>.*?)^```\n\n\| account \| EUR \|\n\| --- \| ---: \|\n(?P<rows>(?:\|[^\n]*\n)+)",
    re.M | re.S,
)
ROW = re.compile(r"^\| `(?P<account>[^`]+)` \| (?P<amount>-?[0-9.]+) \|$", re.M)
EXAMPLES = [(found["commands"], found["rows"]) for found in EXAMPLE.finditer(PAGE.read_text())]


@pytest.fixture
def runs(ok: Run, record: Callable[..., Path], registered: dict[str, str]) -> dict[str, str]:
    """What the page's names stand for."""
    values = {
        "GOOD": {"alice": 0.75, "bob": 0.25},
        "ALSO_GOOD": {"alice": 0.5, "bob": 0.5},
        "BAD": {"alice": 1.0, "bob": -0.25},
    }
    found = {"ALICES_DATA": registered["alice"]}
    for number, (name, by_contributor) in enumerate(values.items()):
        both = {who: [value, value] for who, value in by_contributor.items()}
        found[name] = ok("import-run --json", record(name, values=both, number=number)).json["run"]
    for name in ("carol", "dan"):
        ok(f"contributor add {name}")
    return found


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
