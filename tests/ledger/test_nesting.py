import json
import sys

import pytest

from ledger.errors import StatementFormatError
from ledger.nesting import DEEPEST, assert_shallow
from ledger.proofs.note import SignerKey
from ledger.proofs.verification import verify_statement


def test_what_is_nested_no_deeper_than_allowed_passes() -> None:
    deep = "[" * DEEPEST + "]" * DEEPEST
    assert_shallow(deep)
    assert_shallow(json.dumps([deep] * 3 + ['"[[' * 200, "\\[" * 200]))
    assert_shallow("[]" * 1000)
    with pytest.raises(ValueError, match="nested deeper than"):
        assert_shallow(f"[{deep}]")
    with pytest.raises(ValueError, match="nested deeper than"):
        assert_shallow(b'{"a":' * 1000)


def test_a_statement_nested_absurdly_is_refused_wherever_libraries_moved_pythons_limit() -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10**6)
    try:
        with pytest.raises(StatementFormatError, match="nested deeper than"):
            verify_statement("[" * 10**6, key=SignerKey("a", bytes(32)).verifier)
    finally:
        sys.setrecursionlimit(limit)
