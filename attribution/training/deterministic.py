"""Training that the seed and the number of threads decide."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from attribution.training.configuration import TrainingConfiguration


@contextmanager
def deterministic(configuration: TrainingConfiguration) -> Iterator[None]:
    """Seeds torch and asks it for deterministic arithmetic in float32; the caller's settings come back after."""
    strict, warn = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic  # a module whose one setting is a property that type checkers do not see
    filled, threads = memory.fill_uninitialized_memory, torch.get_num_threads()
    number = torch.get_default_dtype()
    with torch.random.fork_rng():
        torch.manual_seed(configuration.seed)
        torch.set_default_dtype(torch.float32)  # initial weights are drawn in it: another one draws others
        torch.use_deterministic_algorithms(True, warn_only=True)
        # Filling fresh memory guards against code that reads it unset; training code does not, and it costs a tenth.
        memory.fill_uninitialized_memory = False
        if configuration.threads is not None:
            torch.set_num_threads(configuration.threads)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(strict, warn_only=warn)
            memory.fill_uninitialized_memory = filled
            torch.set_num_threads(threads)
            torch.set_default_dtype(number)
