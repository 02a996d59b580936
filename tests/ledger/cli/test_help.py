from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from ledger.cli import application
from tests.ledger.cli.conftest import Run

ROOT = Path(__file__).resolve().parents[3]
COMMANDS = {
    "init",
    "contributor add",
    "contributor erase",
    "contributor list",
    "dataset register",
    "dataset list",
    "dataset withdraw-consent",
    "dataset give-consent",
    "dataset duplicates",
    "estate set",
    "estate show",
    "group create",
    "group list",
    "objective add",
    "objective list",
    "train",
    "import-run",
    "curate",
    "select",
    "timeline",
    "trace",
    "explain",
    "predict",
    "poison",
    "royalty",
    "unlearn",
    "valuation add",
    "valuation list",
    "stake deposit",
    "stake withdraw",
    "settle",
    "reverse",
    "release",
    "pay start",
    "pay list",
    "pay confirm",
    "pay fail",
    "dispute open",
    "dispute resolve",
    "dispute list",
    "convert",
    "remit",
    "account list",
    "account open",
    "account freeze",
    "account free",
    "account close",
    "balance",
    "trial-balance",
    "period close",
    "period list",
    "entry list",
    "entry show",
    "entry reverse",
    "audit",
    "statement",
    "key",
    "checkpoint",
    "verify",
    "export",
    "chain key",
    "chain deploy",
    "chain operator add",
    "chain operator remove",
    "chain operator list",
    "chain address message",
    "chain address sign",
    "chain address set",
    "chain address list",
    "chain publish",
    "chain cancel",
    "chain status",
    "chain proof",
    "chain permit",
    "chain claim",
    "chain revoke",
    "chain pause",
    "chain watch",
    "chain reconcile",
    "demo",
}


def leaves(group: TyperGroup, path: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from leaves(command, f"{path}{name} ")
        else:
            yield path + name


def test_these_are_the_commands() -> None:
    group = get_command(application)
    assert isinstance(group, TyperGroup)
    assert set(leaves(group)) == COMMANDS


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_explains_itself_with_an_example_of_itself(run: Run, command: str) -> None:
    ran = run(f"{command} --help")
    assert ran.code == 0
    assert f"Example: ghostledger {command}" in " ".join(ran.out.split())


def test_every_commands_example_has_only_options_that_exist() -> None:
    from tests.test_readme import commands_of, missing

    examples = [getattr(module, "epilog", None) for module in _commands()]
    lines = "\n".join(example.removeprefix("Example: ") for example in examples if example)
    commands = commands_of(f"```bash\n{lines}\n```\n")
    assert len(commands) == len(COMMANDS)
    assert [what for words in commands if (what := missing(words))] == []


def _commands() -> Iterator[object]:
    groups = [get_command(application)]
    while groups:
        for command in groups.pop().commands.values():  # type: ignore[attr-defined]
            if isinstance(command, TyperGroup):
                groups.append(command)
            else:
                yield command


def test_without_a_word_the_help_is_shown(run: Run) -> None:
    ran = run("")
    assert ran.code == 0
    assert "Usage: ghostledger" in ran.out


@pytest.mark.parametrize("words", ["--help", "audit", "init --help", "train --help", "demo --help"])
def test_what_does_not_train_loads_no_torch(tmp_path: Path, words: str) -> None:
    check = (
        "import sys; from ledger.cli import main; main(sys.argv[1:]);"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    command = [sys.executable, "-c", check, *words.split()]
    ran = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, timeout=120)
    assert ran.returncode == 0


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("no-such-command", "no-such-command"),
        ("contributor", "Missing command"),
        ("contributor add", "Missing argument"),
        ("audit --no-such-option", "--no-such-option"),
        ("dataset register alice data --licence MIT", "--consent-given"),
        ("settle abcd --pool 10", "--pool"),
        ("settle abcd --fee much --pool 10 EUR", "--fee"),
        ("train --objective news", "--out"),
    ],
)
def test_a_mistyped_command_is_refused_in_one_line(run: Run, words: str, reason: str) -> None:
    assert reason in run(words).refusal


def test_the_installed_program_returns_the_exit_code(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; from ledger.cli import main; sys.exit(main())", "audit"]
    ran = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 2
    assert "there is no ledger here" in ran.stderr
    assert list(tmp_path.iterdir()) == []
