import pytest

from ledger.errors import LicenceError
from ledger.licences import parse_licence


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("MIT", "MIT"),
        ("mit", "MIT"),
        ("apache-2.0 and (mit or cc0-1.0)", "Apache-2.0 AND (MIT OR CC0-1.0)"),
        ("GPL-2.0-only WITH Classpath-exception-2.0", "GPL-2.0-only WITH Classpath-exception-2.0"),
        ("LicenseRef-BBC-research", "LicenseRef-BBC-research"),
        ("MIT AND LicenseRef-terms.2", "MIT AND LicenseRef-terms.2"),
        ("DocumentRef-deal:LicenseRef-7", "DocumentRef-deal:LicenseRef-7"),
    ],
)
def test_spdx_expressions_are_kept_in_their_own_spelling(given: str, normal: str) -> None:
    assert parse_licence(given) == normal


@pytest.mark.parametrize(
    "text", ["", "  ", "free", "MIT AND", "MIT MIT", "(MIT", "LicenseRef-", "LicenseRef-a b", "MIT OR mine"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(LicenceError):
        parse_licence(text)
