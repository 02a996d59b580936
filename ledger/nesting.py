"""JSON from outside is read only where it is not nested absurdly. Pure.

Python's own limit cannot be relied on: libraries raise it, to where the reader ends the program instead of refusing.
"""

from __future__ import annotations

import re

DEEPEST = 200  # levels; a statement has about ten
_MARK = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', re.DOTALL)


def assert_shallow(text: str | bytes) -> None:
    """Check how deeply JSON is nested, before it is read. Raises `ValueError`."""
    depth = 0
    for mark in _MARK.finditer(text if isinstance(text, str) else text.decode("utf-8", "replace")):
        if mark[0] in "[{":
            depth += 1
            if depth > DEEPEST:
                raise ValueError(f"it is nested deeper than {DEEPEST} levels")
        elif mark[0] in "]}":
            depth -= 1
