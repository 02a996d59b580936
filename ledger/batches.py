"""Iterables taken a few at a time: a statement has only so many parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of up to `size` items, in order."""
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield batch
