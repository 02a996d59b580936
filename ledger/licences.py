"""Licences as SPDX expressions, with ``LicenseRef-`` names for terms that SPDX does not list."""

from __future__ import annotations

import re
from functools import cache

from license_expression import ExpressionError, ExpressionParseError, Licensing, get_spdx_licensing

from ledger.errors import LicenceError

_OWN_TERMS = re.compile(r"(DocumentRef-[A-Za-z0-9.-]+:)?LicenseRef-[A-Za-z0-9.-]+")


@cache
def _licensing() -> Licensing:
    return get_spdx_licensing()


def parse_licence(expression: str) -> str:
    """The expression in SPDX's own spelling. Raises `LicenceError`, naming what is not known."""
    try:
        parsed = _licensing().parse(expression)
        unknown = [key for key in _licensing().unknown_license_keys(parsed) if not _OWN_TERMS.fullmatch(key)]
    except (ExpressionError, ExpressionParseError) as error:
        raise LicenceError(expression, "is not an SPDX expression") from error
    if parsed is None:
        raise LicenceError(expression, "is empty")
    if unknown:
        raise LicenceError(expression, f"SPDX does not list {', '.join(map(repr, unknown))}")
    return str(parsed.render())
