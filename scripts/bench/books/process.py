"""One step of the bench in a process of its own, with the memory that it takes above what it begins with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Cost:
    """What a step took."""

    seconds: float
    before: float  # MB resident when it began: the interpreter and what is imported
    peak: float  # MB resident at most while it ran

    @property
    def growth(self) -> float:
        """MB that the step itself took."""
        return self.peak - self.before


def alone(step: str, *arguments: str) -> Cost:
    """Run a step, ``module:function``, in a fresh interpreter with text arguments. Raises what ended it."""
    command = [sys.executable, "-m", "scripts.bench.books.process", step, *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return Cost(**json.loads(done.stdout))


def measured(work: Callable[[], object]) -> Cost:
    """Do the work, and what it took. Linux only: peaks are the kernel's own."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    before, began = _resident("VmRSS"), time.perf_counter()
    work()
    return Cost(time.perf_counter() - began, before, _resident("VmHWM"))


def _resident(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"the kernel does not tell {name}")


def main() -> None:
    from importlib import import_module

    module, _, function = sys.argv[1].partition(":")
    cost = getattr(import_module(module), function)(*sys.argv[2:])
    print(json.dumps(asdict(cost)))


if __name__ == "__main__":
    main()
