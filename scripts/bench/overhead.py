"""What metering costs: step times in one run, interleaved, as ratios to the step plus one bare validation gradient.

    python scripts/bench/overhead.py [--layers 2 --width 128 --vocabulary 2048 --rows 16 --context 128]
        [--contributors 8] [--validation 16] [--repeats 12] [--threads 2]

The plain step plus one validation gradient is the floor: anything that measures progress needs that gradient. Each
repeat times a few steps of every loop in turn, so that a noisy machine disturbs all alike; printed are the median and
the quartiles of the ratio within a repeat. Text: the source code of Python's standard library, byte by byte, so the
weights are sane ones; the models have trained for some steps before anything is timed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel

from attribution import InRunShapley


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (
        ("layers", 2),
        ("width", 128),
        ("heads", 4),
        ("vocabulary", 2048),
        ("rows", 16),
        ("context", 128),
        ("contributors", 8),
        ("validation", 16),
        ("repeats", 12),
        ("steps", 4),
        ("warm-up", 20),
        ("threads", 2),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    text = _text(options.vocabulary)
    loops = {name: _loop(name, options, text) for name in ("plain", "floor", "path", "path, 2 nodes", "first_order")}
    for step in loops.values():
        for _ in range(options.warm_up):
            step()
    times: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(options.repeats):
        for name, step in loops.items():
            began = time.perf_counter()
            for _ in range(options.steps):
                step()
            times[name].append((time.perf_counter() - began) / options.steps)
    figures = {}
    for name, found in times.items():
        ratios = [mine / floor for mine, floor in zip(found, times["floor"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        figures[name] = {"seconds": statistics.median(found), "ratio": middle, "low": low, "high": high}
    if options.json:
        print(json.dumps({"options": vars(options), "figures": figures}))
        return
    print(f"{'':<16}{'ms a step':>10}{'to the floor':>14}{'quartiles':>16}")
    for name, figure in figures.items():
        spread = f"{figure['low']:.2f}-{figure['high']:.2f}"
        print(f"{name:<16}{1000 * figure['seconds']:>10.0f}{figure['ratio']:>14.2f}{spread:>16}")


def _text(vocabulary: int) -> Tensor:
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[:60]
    content = b"".join(path.read_bytes() for path in files)
    # Pairs of bytes, folded into the vocabulary: real statistics at any size.
    pairs = torch.frombuffer(bytearray(content[: len(content) // 2 * 2]), dtype=torch.uint8).view(-1, 2).long()
    return (pairs[:, 0] * 256 + pairs[:, 1]) * 2654435761 % 4294967296 % vocabulary


def _loss(model: nn.Module, ids: Tensor) -> Tensor:
    return functional.cross_entropy(model(ids).logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


def _loop(name: str, options: argparse.Namespace, text: Tensor) -> Callable[[], None]:
    """One step of the named loop, on a model of its own; all loops see the same batches."""
    torch.manual_seed(0)
    shape = {"n_layer": options.layers, "n_embd": options.width, "n_head": options.heads}
    dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    tokens = {"vocab_size": options.vocabulary, "bos_token_id": 0, "eos_token_id": 0}
    model = GPT2LMHeadModel(GPT2Config(n_positions=options.context, use_cache=False, **shape, **dropout, **tokens))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(1)

    def draw(rows: int) -> Tensor:
        starts = torch.randint(0, len(text) - options.context, (rows,), generator=generator)
        return torch.stack([text[start : start + options.context] for start in starts])

    validation = draw(options.validation)
    meter = None
    if name not in ("plain", "floor"):
        nodes = 2 if name.endswith("2 nodes") else None
        names = [f"contributor {c}" for c in range(options.contributors)]
        method = name.split(",")[0]
        meter = InRunShapley(model, optimizer, lambda m: _loss(m, validation), names, method=method, nodes=nodes)

    def step() -> None:
        ids = draw(options.rows)
        who = torch.randint(0, options.contributors, (options.rows,), generator=generator).sort().values
        if meter is None:
            _loss(model, ids).backward()
        else:
            with meter.batch(who):
                _loss(model, ids).backward()
        optimizer.step()
        optimizer.zero_grad()
        if name == "floor":
            torch.autograd.grad(_loss(model, validation), list(model.parameters()))

    return step


if __name__ == "__main__":
    main()
