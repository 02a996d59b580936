"""Canonical JSON (RFC 8785) for the many small objects of a ledger: the interpreter's own encoder where it must agree.

The two forms can only differ in the order of keys beyond ASCII (RFC 8785 sorts UTF-16 code units, Python code points)
and in numbers that are not small integers. What holds neither is written by `json`, several times faster; everything
else, and whatever has no canonical form, by the `rfc8785` library.
"""

from __future__ import annotations

from json.encoder import JSONEncoder, encode_basestring
from typing import Any

import rfc8785

_encode = JSONEncoder(
    sort_keys=True, ensure_ascii=False, separators=(",", ":"), check_circular=False, allow_nan=False
).encode
quoted = encode_basestring  # text as JSON; lone surrogates are refused when it is encoded
_LARGEST = 2**53 - 1  # what RFC 8785 takes for an integer


def dumps(value: Any) -> bytes:
    """The canonical bytes of a value. Raises `rfc8785.CanonicalizationError` where it has none."""
    if _plain(value):
        try:
            return _encode(value).encode()
        except UnicodeEncodeError:
            pass  # a lone surrogate, which the library refuses in its own words
    return rfc8785.dumps(value)


def encoded(text: str) -> bytes:
    """The bytes of text made of `quoted` parts. Raises `rfc8785.CanonicalizationError` for a lone surrogate."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return rfc8785.dumps(text)  # refuses it in its own words


def _plain(value: Any) -> bool:
    """Whether both encoders write the same: exact types only, since a subclass may be written otherwise."""
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return True
    if kind is int:
        return bool(-_LARGEST <= value <= _LARGEST)
    if kind is dict:
        for key in value:
            if type(key) is not str or not key.isascii():
                return False
        items = value.values()
    elif kind is list or kind is tuple:
        items = value
    else:
        return False
    return all(_plain(item) for item in items if type(item) is not str)  # most are text: no call for those
