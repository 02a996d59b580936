import subprocess
import sys


def test_importing_the_ledger_and_the_run_record_does_not_load_torch() -> None:
    program = (
        "import sys, ledger, ledger.audit, ledger.settlement, ledger.statement, ledger.migrations, attribution.record; "
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
