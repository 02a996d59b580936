from __future__ import annotations

import subprocess
import sys

from tests.ledger.chain.anvil import ROOT

LIBRARIES = ("web3", "eth_account", "eth_abi", "eth_utils")
EACH_MISSING = f"""
import sys
from ledger.errors import LedgerError
for library in {LIBRARIES!r}:
    sys.modules[library] = None
    try:
        import ledger.chain.merkle
    except LedgerError as error:
        print(error)
    del sys.modules[library]
"""
ALL_MISSING = f"""
import sys
for library in {LIBRARIES!r}:
    sys.modules[library] = None
import ledger.cli, ledger.audit, ledger.models, ledger.errors
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_without_the_extra_the_chain_is_one_sentence() -> None:
    done = run(EACH_MISSING)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"settlement on a chain needs the library {name.replace('_', '-')}: pip install 'ghostledger[chain]'"
        for name in LIBRARIES
    ]


def test_the_rest_of_the_ledger_needs_none_of_it() -> None:
    done = run(ALL_MISSING)
    assert (done.returncode, done.stderr) == (0, "")
