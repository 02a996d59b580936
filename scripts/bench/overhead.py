"""What metering costs: step times in one run, interleaved, as ratios to what training must do anyway.

    python scripts/bench/overhead.py [--model gpt|convolutions|perceptron] [--layers 4 --width 256 --vocabulary 8192]
        [--rows 16 --context 128] [--contributors 8] [--tasks 1] [--validation 4 16] [--repeats 9] [--only 'plain;path']
    python scripts/bench/overhead.py --changes      # the meter without each thing that makes it fast
    python scripts/bench/overhead.py --memory       # peak memory of each loop, in processes of their own
    python scripts/bench/overhead.py --sweep contributors=2,8,32 --only 'plain;floor;path'

The *plain* step is forward, backward, AdamW. The *floor* is that and one bare validation gradient: anything that
measures progress at each step needs one. Each repeat times a few steps of every loop in turn, so that a noisy machine
disturbs all alike; printed are medians, and the quartiles of the ratios within a repeat. All loops train models of the
same shape on the same batches, for some steps before anything is timed. Text: the source code of Python's standard
library; images and vectors: noisy copies of a pattern for each class.

Peers, where they are installed: per-sample gradients by torch.func (vmap of grad) and by opacus; neither values
anything yet, they only make the gradients that such methods start from.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import torch
from overhead_models import Problem, problem
from torch.func import functional_call, grad, vmap

from attribution import Counterfactual, InRunShapley, slots
from attribution.ghost import checks, providers

Step = Callable[[], None]

METERED = {
    "path": {},
    "path, 2 nodes": {"nodes": 2},
    "first_order": {"method": "first_order"},
    "path, samples": {},
    "every=8": {"every": 8},
    "every=run": {"every": "run"},
    "ghost": {"memory": "ghost"},
    "counterfactual": {"counterfactual": True},
    "kronecker": {"counterfactual": Counterfactual("kronecker")},
}
# The same path with one thing undone: what is set to what while its steps run.
CHANGES = {
    "weight gradients twice": (providers, "WORTH_REPLACING", 1 << 62),
    "every sum checked": (checks, "CHECK_ALL", 1 << 62),
    "not in stretches": (slots, "STRETCH", 1 << 62),
}
PEERS = ["vmap of grad", "opacus"]
LOOPS = ["plain", "floor", *METERED, *PEERS]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=["gpt", "convolutions", "perceptron"], default="gpt")
    for name, default in (
        ("layers", 4),
        ("width", 256),
        ("vocabulary", 8192),
        ("rows", 16),
        ("context", 128),
        ("contributors", 8),
        ("tasks", 1),
        ("repeats", 9),
        ("steps", 2),
        ("warm-up", 10),
        ("threads", 2),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--validation", type=int, nargs="+", default=[4, 16], help="rows of the validation batch")
    parser.add_argument("--only", help="loops to time, by name, separated by semicolons")
    parser.add_argument("--changes", action="store_true", help="time the meter with one improvement undone at a time")
    parser.add_argument("--sweep", metavar="OPTION=A,B,…", help="repeat for several values of one of the sizes")
    parser.add_argument("--memory", action="store_true", help="peak memory of each loop instead of its time")
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    names = ["plain", "floor", "path", *CHANGES] if options.changes else LOOPS
    names = [name.strip() for name in options.only.split(";")] if options.only else names
    if find_spec("opacus") is None:
        names = [name for name in names if name != "opacus"]
    if options.alone:
        alone(options)
        return
    option, _, values = (options.sweep or "rows=").partition("=")
    for value in [int(v) for v in values.split(",") if v] or [options.rows]:
        setattr(options, option.replace("-", "_"), value)
        if options.sweep:
            print(f"\n{option} {value}")
        measure(names, options)


def measure(names: list[str], options: argparse.Namespace) -> None:
    for validation in options.validation:
        figures = memory(names, options, validation) if options.memory else times(names, options, validation)
        if options.json:
            print(json.dumps({"options": {**vars(options), "validation": validation}, "figures": figures}))
        else:
            show(figures, options, validation)


def times(names: list[str], options: argparse.Namespace, validation: int) -> dict[str, dict[str, float]]:
    loops = {name: loop(name, problem(options, validation), options) for name in names}
    for step in loops.values():
        for _ in range(options.warm_up):
            step()
    found: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(options.repeats):
        for name, step in loops.items():
            began = time.perf_counter()
            for _ in range(options.steps):
                step()
            found[name].append((time.perf_counter() - began) / options.steps)
    figures = {}
    for name, mine in found.items():
        figures[name] = {"milliseconds": 1000 * statistics.median(mine)}
        for base in ("plain", "floor"):
            if base in found:
                ratios = [a / b for a, b in zip(mine, found[base], strict=True)]
                low, middle, high = statistics.quantiles(ratios, n=4)
                figures[name] |= {f"to {base}": middle, f"to {base}, low": low, f"to {base}, high": high}
    return figures


def memory(names: list[str], options: argparse.Namespace, validation: int) -> dict[str, dict[str, float]]:
    figures = {}
    for name in names:
        arguments = [a for a in sys.argv[1:] if a != "--memory"]
        command = [sys.executable, __file__, *arguments, "--alone", f"{name}|{validation}"]
        figures[name] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    for figure in figures.values():
        figure["beyond the floor"] = figure["peak megabytes"] - figures.get("floor", figure)["peak megabytes"]
    return figures


def alone(options: argparse.Namespace) -> None:
    name, validation = options.alone.split("|")
    meters: list[InRunShapley] = []
    step = loop(name, problem(options, int(validation)), options, meters)
    for _ in range(5):
        step()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    predicted = meters[0].footprint.total / 2**20 if meters else 0.0
    print(json.dumps({"peak megabytes": peak, "predicted": predicted}))


def show(figures: dict[str, dict[str, float]], options: argparse.Namespace, validation: int) -> None:
    print(f"\n{options.model}, {options.contributors} contributors, validation batch {validation}")
    if options.memory:
        print(f"{'':<16}{'peak MB':>10}{'beyond floor':>14}{'predicted':>12}")
        for name, f in figures.items():
            print(f"{name:<16}{f['peak megabytes']:>10.0f}{f['beyond the floor']:>14.0f}{f['predicted']:>12.0f}")
        return
    print(f"{'':<16}{'ms a step':>10}{'to plain':>10}{'quartiles':>13}{'to floor':>10}{'quartiles':>13}")
    for name, figure in figures.items():
        line = f"{name:<16}{figure['milliseconds']:>10.1f}"
        for base in ("plain", "floor"):
            if f"to {base}" in figure:
                spread = f"{figure[f'to {base}, low']:.2f}-{figure[f'to {base}, high']:.2f}"
                line += f"{figure[f'to {base}']:>10.2f}{spread:>13}"
        print(line)


def loop(name: str, task: Problem, options: argparse.Namespace, meters: list[InRunShapley] | None = None) -> Step:
    """One step of the named loop, on a model of its own; all loops see the same batches."""
    if name == "vmap of grad":
        return _vmap_of_grad(task)
    if name == "opacus":
        return _opacus(task)
    meter = None
    if name not in ("plain", "floor"):
        names = [f"contributor {c}" for c in range(options.contributors)]
        goals = {f"task {t}": task.objective(t) for t in range(options.tasks)}
        meter = InRunShapley(task.model, task.optimizer, goals, names, **METERED.get(name, {}))
        if meters is not None:
            meters.append(meter)
    count = 0

    def step() -> None:
        with undone(name):
            one_step()

    def one_step() -> None:
        nonlocal count
        batch, who = task.draw()
        if meter is None:
            task.loss(task.model, batch).backward()
        else:
            samples = range(count, count + len(who)) if name == "path, samples" else None
            with meter.batch(who, samples=samples):
                task.loss(task.model, batch).backward()
        count += len(who)
        task.optimizer.step()
        task.optimizer.zero_grad()
        if name == "floor":
            torch.autograd.grad(task.objective(0)(task.model), list(task.model.parameters()))

    return step


@contextmanager
def undone(name: str) -> Iterator[None]:
    """The setting of the named change, while a step runs."""
    if name not in CHANGES:
        yield
        return
    module, setting, value = CHANGES[name]
    before = getattr(module, setting)
    setattr(module, setting, value)
    try:
        yield
    finally:
        setattr(module, setting, before)


def _vmap_of_grad(task: Problem) -> Step:
    names, parameters = zip(*task.model.named_parameters(), strict=True)
    buffers = dict(task.model.named_buffers())

    def sample_loss(values: tuple[torch.Tensor, ...], *sample: torch.Tensor) -> torch.Tensor:
        state = {**dict(zip(names, values, strict=True)), **buffers}
        return task.loss(lambda inputs: functional_call(task.model, state, (inputs,)), [s.unsqueeze(0) for s in sample])

    by_sample = vmap(grad(sample_loss), in_dims=(None, *([0] * task.tensors)), randomness="same")

    def step() -> None:
        batch, _ = task.draw()
        gradients = by_sample(tuple(p.detach() for p in parameters), *batch)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient.mean(0)
        task.optimizer.step()
        task.optimizer.zero_grad()
        torch.autograd.grad(task.objective(0)(task.model), list(parameters))

    return step


def _opacus(task: Problem) -> Step:
    from opacus import GradSampleModule

    for module in task.model.modules():  # opacus refuses tied weights, so this one trains them apart
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                module._parameters[name] = torch.nn.Parameter(parameter.detach().clone())
    optimizer = torch.optim.AdamW(task.model.parameters(), lr=1e-3)
    wrapped = GradSampleModule(task.model)

    def step() -> None:
        batch, _ = task.draw()
        task.loss(wrapped, batch).backward()
        optimizer.step()
        wrapped.zero_grad()
        wrapped.disable_hooks()
        torch.autograd.grad(task.objective(0)(task.model), list(task.model.parameters()), allow_unused=True)
        wrapped.enable_hooks()

    return step


if __name__ == "__main__":
    main()
