"""The contracts: what is built is what Python uses, and forge's tests, the mutants, the proof and Slither hold."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# A claim of each, and the command of scripts/contracts that shows it. Each may take minutes on a slow machine.
CHECKS = [
    pytest.param("check", id="what_python_uses_is_what_the_sources_make"),
    pytest.param("test", id="forges_tests_pass"),
    pytest.param("mutants", id="every_mutant_is_noticed"),
    pytest.param("symbolic", id="the_arithmetic_of_three_claims_is_proved_and_its_bug_found"),
    pytest.param("static", id="slither_finds_nothing_unexplained"),
    pytest.param("gas", id="calls_cost_what_is_written"),
]


@pytest.mark.parametrize("command", CHECKS)
def test_the_contracts_hold(command: str) -> None:
    done = subprocess.run([ROOT / "scripts/contracts", command], capture_output=True, text=True, timeout=1800)
    if done.returncode == 0:
        return
    said = (done.stdout + done.stderr).strip()
    if done.returncode == 2:
        pytest.fail(said.splitlines()[-1], pytrace=False)
    # What failed is at the end, and forge's list of what passed is not wanted.
    lines = [line for line in said.splitlines() if not line.startswith(("[PASS]", "killed:"))]
    pytest.fail("\n".join([f"scripts/contracts {command}:", *lines[-60:]]), pytrace=False)


def test_without_node_one_line_says_what_to_install(tmp_path: Path) -> None:
    for tool in ("bash", "dirname", "sed", "cat", "flock", "sha256sum", "env"):
        (tmp_path / tool).symlink_to(Path("/usr/bin") / tool)
    done = subprocess.run(
        [ROOT / "scripts/contracts", "check"], capture_output=True, text=True, env={"PATH": str(tmp_path)}
    )
    assert done.returncode == 2
    assert done.stderr == (
        "scripts/contracts: Node.js 20 or newer with npm is needed; on Debian: apt-get install nodejs npm\n"
    )
