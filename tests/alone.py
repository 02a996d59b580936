"""Runs a test in a process that has one thread.

Python before 3.13.2 may crash when memory is traced while another thread allocates, and any earlier test may have left
one behind. A fork has none but its own.
"""

from __future__ import annotations

import functools
import sys
import traceback
import tracemalloc
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import pytest

LONGEST = 300  # seconds


def alone(test: Callable[..., None]) -> Callable[..., None]:
    """The test, its failure reported from a forked process that ends with it."""

    def run(sending: Connection, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        if "torch" in sys.modules:  # whose pool of threads is not in a fork, and would be waited for
            sys.modules["torch"].set_num_threads(1)
        try:
            test(*arguments, **options)
        except BaseException:  # noqa: BLE001 - told to the parent, whatever it is
            sending.send(traceback.format_exc())
        else:
            sending.send("")
        finally:
            tracemalloc.stop()

    @functools.wraps(test)
    def forked(*arguments: Any, **options: Any) -> None:
        receiving, sending = get_context("fork").Pipe(duplex=False)
        process = get_context("fork").Process(target=run, args=(sending, arguments, options))
        process.start()
        sending.close()
        try:
            failure = receiving.recv() if receiving.poll(LONGEST) else f"not finished after {LONGEST} s"
        except EOFError:
            failure = "the process died"
        process.kill()
        process.join()
        if failure:
            pytest.fail(failure, pytrace=False)

    return forked
