"""What docs/chain.md says is so: its commands run in order on a real chain, and alice has her tokens in the end."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from ledger.database import Ledger
from tests.ledger.chain.world import DELAY, World
from tests.ledger.cli.chain.conftest import PAYABLE, Keyring
from tests.ledger.cli.conftest import Run
from tests.test_readme import commands_of, missing

PAGE = Path(__file__).resolve().parents[4] / "docs" / "chain.md"
BLOCK = re.compile(r"^```bash\n(.*?)^```", re.M | re.S)


def test_the_page_s_commands_lead_from_payable_to_tokens(
    owed: Ledger, world: World, rpc: str, keyring: Keyring, ok: Run, tmp_path: Path
) -> None:
    names = {name: world.address(name.lower()) for name in ("OWNER", "PUBLISHER", "GUARDIAN", "ALICE")}
    names["TOKEN"] = world.token.address
    for who in ("owner", "publisher", "alice"):
        keyring.options(who)
    lines = [line for block in BLOCK.findall(PAGE.read_text()) for line in block.replace("\\\n", " ").splitlines()]
    assert len(lines) > 10
    for line in lines:
        program, *words = shlex.split(re.sub(r"\$([A-Z]+)\b", lambda found: names[found[1]], line))
        assert program == "ghostledger"
        words, file = (words[:-2], words[-1]) if ">" in words else (words, None)
        ran = ok(" ".join(words))
        if file is not None:
            (tmp_path / file).write_text(ran.out)
        if words[:2] == ["chain", "deploy"]:
            (made,) = ok("chain status --json").json
            world.send("owner", world.token.address, world.token.mint(made["address"], 10**12))
        if "sent" in words:
            world.chain.pass_time(DELAY + 1)
        world.chain.mine(2)
    assert world.token.balance_of(world.address("alice")) == PAYABLE["alice"]
    (shown,) = ok("chain status --json").json
    assert (shown["paid"], shown["payable"]) == ("3.000001", "3.000000")  # bob and carol have no address


def test_every_command_that_the_page_names_exists() -> None:
    named = commands_of(PAGE.read_text())
    assert len(named) > 10
    assert {" ".join(words): missing(words) for words in named if missing(words)} == {}
