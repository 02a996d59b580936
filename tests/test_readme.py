"""What the README says is so: its Python runs, its commands exist, its links lead somewhere.

A block runs as it stands, all blocks in order in one namespace. What a reader brings along (a model, a loader) is
made by a comment that the page does not show: `<!-- setup`, Python, `-->`.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"

_PYTHON = re.compile(r"^```python\n(?P<block>.*?)^```$|^<!-- setup\n(?P<setup>.*?)^-->$", re.MULTILINE | re.DOTALL)
_SHELL = re.compile(r"^```(?:bash|sh|shell|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FENCE = re.compile(r"^```.*?^```$|<!--.*?-->", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")


def python_of(markdown: str) -> Iterator[tuple[int, str]]:
    """The Python of a page in order, set-up comments included, each with the line on which it begins."""
    for found in _PYTHON.finditer(markdown):
        yield markdown.count("\n", 0, found.start()) + 1, found["block"] or found["setup"]


def commands_of(markdown: str) -> list[list[str]]:
    """The commands of the shell blocks, and of the inline code that begins with one of ours, as words."""
    lines = [
        line.removeprefix("$ ")
        for block in _SHELL.findall(markdown)
        for line in block.replace("\\\n", " ").splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]
    inline = _INLINE.findall(_FENCE.sub("", markdown))
    lines += [code for code in inline if code.startswith(("ghostledger ", "scripts/"))]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def missing(words: list[str]) -> str | None:
    """What of a command does not exist, or nothing."""
    program = words[0]
    if program == "ghostledger":
        return _missing_of_ghostledger(words[1:])
    if "/" in program:
        path = ROOT / program
        return None if path.is_file() and (path.stat().st_mode & 0o111 or len(words) == 1) else program
    known = program in {"cd", "export", "source"} or shutil.which(program) is not None
    return None if known else program


def _missing_of_ghostledger(words: list[str]) -> str | None:
    from ledger.cli import application

    command = get_command(application)
    options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    for word in words:
        if word.startswith("-"):
            if word.split("=")[0] not in options:
                return f"option {word} of ghostledger {' '.join(words)}"
        elif isinstance(command, TyperGroup) and word in command.commands:
            command = command.commands[word]
            options |= {option for parameter in command.params for option in parameter.opts}
        elif isinstance(command, TyperGroup) and not word.isupper():
            return f"ghostledger {' '.join(words)}"
    return None


def test_every_python_block_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "__main__"}
    for line, code in python_of(README.read_text()):
        # Blank lines in front make a traceback name the README's own line.
        exec(compile("\n" * line + code, str(README), "exec"), namespace)


def test_every_command_of_the_readme_exists() -> None:
    commands = commands_of(README.read_text())
    assert {"scripts/demo", "scripts/test"} <= {words[0] for words in commands}, "the README gives both commands"
    assert [what for words in commands if (what := missing(words))] == []


def test_every_local_link_of_the_readme_leads_somewhere() -> None:
    targets = [target for target in _LINK.findall(README.read_text()) if "://" not in target]
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_the_command_of_continuous_integration_is_the_readmes() -> None:
    assert "\nscripts/test\n" in (ROOT / ".ci" / "run").read_text()


MARKDOWN = """
Use `ghostledger audit` often.
<!-- setup
x = 1
-->
```python
assert x == 1
```
```bash
# a comment
scripts/nowhere --flag
ghostledger no-such-command
ghostledger --ledger books.db settle --no-such-option
```
"""


def test_blocks_and_set_up_comments_are_found_in_order() -> None:
    assert list(python_of(MARKDOWN)) == [(3, "x = 1\n"), (6, "assert x == 1\n")]


def test_commands_that_do_not_exist_are_found() -> None:
    assert [bool(missing(words)) for words in commands_of(MARKDOWN)] == [True, True, True, False]
