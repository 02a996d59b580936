"""Curation: a language model on pooled text, scored once, and trained again on what one filter or another leaves."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from fidelity.runner import Runner
from fidelity.tables import spread, table

from attribution.training import Source, TrainingConfiguration, train
from attribution.training.model import build_model
from attribution.training.tokenizer import train_tokenizer
from attribution.uses.curate import curate
from attribution.uses.curation import Rule
from studies.keep_lists import dropped, keep_list
from studies.language_runs import packed, record_losses, record_tokens, tokenizer_of, trained
from studies.pooled_text import INJECTED, PROSE, Pool, natural, pool, write
from studies.report import COLOURS, Report, axes

TITLE = "Curate: leave out what did harm"

NOTHING, ALL_BAD = "nothing", "all that is not prose, by hand"
NATS, STANDING = "scores, nats", "scores, standing"
RANDOM, LOSS, REFERENCE = "at random", "highest loss of the run's model", "highest loss of a reference model"

BAD = 0.4  # share of a pool that is not prose
WORDS = 1024  # tokens of a vocabulary of parts of words
SMOOTH = 3  # evaluations whose mean is the loss

Floats = npt.NDArray[np.float64]
Arm = tuple[str, float]  # a filter, and the share of all tokens that it drops


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    characters: int = 200_000
    held: int = 24_000  # characters of the objective's text, which the reference model learns from
    seeds: int = 3
    epochs: int = 2  # of the run that is scored; all later ones are as many steps long
    every: int = 20  # steps between two evaluations
    layers: int = 2
    width: int = 64
    context: int = 64  # bytes
    reference: int = 200  # steps of the reference model
    share: float = 0.3  # of all tokens, dropped
    others: tuple[float, ...] = ()  # more shares, dropped by standing


SIZES = {
    "quick": Size(14_000, 3_000, 1, 1, 8, 1, 16, 32, 5),
    "default": Size(),
    "full": Size(1_000_000, 100_000, 5, every=40, others=(0.15, 0.45)),
}


@dataclass(frozen=True)
class Case:
    """A pool, the run that scores it, and what is trained after it."""

    size: Size
    seed: int
    arms: tuple[Arm, ...]
    bad: float = BAD  # share of the pool that is not prose
    scored: float = 1.0  # part of the steps that the scored run makes
    vocabulary: int = 257  # bytes and the end of text: a small model learns most from them in few steps


def compared(case: Case) -> dict[str, Any]:
    """Of each arm the test losses, and which share of each kind's tokens was dropped."""
    size, found = case.size, pool(case.size.characters, case.bad, case.size.held, case.seed)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        sources, task = found.sources(folder), found.task(folder)
        tokenizer = train_tokenizer(found.texts, case.vocabulary)
        tokenizer.save_pretrained(folder / "tokenizer")
        plain = _configuration(case, folder / "tokenizer")
        with packed(sources, plain) as corpus:
            steps = corpus.steps(plain.batch_rows, size.epochs)
        metering = {"epochs": size.epochs, "max_steps": max(1, round(case.scored * steps)), "scores": True}
        record = train(sources, [task], plain.model_copy(update=metering), folder / "run")

        def listed(name: str, share: float) -> Path | None:
            out = folder / f"{name} {share}"
            if name in (NATS, STANDING):
                rule = Rule(share=share, standing=name == STANDING)
                return curate(record, folder / "run", out, rule).path / "keep.parquet"
            tokens = record_tokens(found.texts, plain)
            if name == ALL_BAD:
                share = sum(n for n, bad in zip(tokens, found.bad, strict=True) if bad) / sum(tokens)
            return None if name == NOTHING else keep_list(out, sources, suspicion[name](), tokens, share)

        suspicion: dict[str, Callable[[], Floats]] = {
            RANDOM: lambda: np.random.default_rng(case.seed).random(len(found.texts)),
            LOSS: lambda: _losses(found, plain, folder / "run" / "model"),
            REFERENCE: lambda: _losses(found, plain, _reference(found, plain, size.reference, folder)),
            ALL_BAD: lambda: np.array(found.bad, dtype=np.float64),
        }
        arms = {}
        for name, share in case.arms:
            keep = listed(name, share)
            _, losses = trained(sources, keep, plain, steps, found.test, size.every)
            arms[_label(name, share)] = {"losses": losses, "dropped": dropped(keep, found.kinds) if keep else {}}
    return {"steps": steps, "arms": arms}


def _configuration(case: Case, tokenizer: Path) -> TrainingConfiguration:
    size = case.size
    return TrainingConfiguration(
        layers=size.layers,
        width=size.width,
        heads=4,
        context=size.context,
        tokenizer=tokenizer,
        learning_rate=2e-3,
        seed=case.seed,
        threads=1,
    )


def _reference(found: Pool, plain: TrainingConfiguration, steps: int, folder: Path) -> Path:
    """A model of the same shape that learned the objective's text."""
    clean = Source("clean", (write(folder / "clean.jsonl", found.objective),), ("clean",))
    model, _ = trained([clean], None, plain, steps)
    model.save_pretrained(folder / "reference")  # type: ignore[operator]  # a transformers model, typed as a module
    return folder / "reference"


def _losses(found: Pool, plain: TrainingConfiguration, folder: Path) -> Floats:
    checkpoint = TrainingConfiguration(model=folder, context=plain.context)
    return record_losses(build_model(checkpoint, tokenizer_of(plain)), found.texts, plain)


def _label(name: str, share: float) -> str:
    return name if name in (NOTHING, ALL_BAD) else f"{name}, {share:.0%}"


def _smooth(losses: Sequence[float]) -> Floats:
    """The mean of each evaluation and the two before it."""
    return np.array([np.mean(losses[max(0, n - SMOOTH + 1) : n + 1]) for n in range(len(losses))])


def reached(losses: Sequence[float], level: float) -> float:
    """After which part of its steps a run first is at the level, between evaluations by a line; infinite if never."""
    curve = np.concatenate([[np.inf], _smooth(losses)])
    below = np.flatnonzero(curve <= level)
    if not len(below):
        return float("inf")
    at = int(below[0])
    back = (level - curve[at]) / (curve[at - 1] - curve[at])  # 0 where there is no evaluation before it
    return float((at - back) / len(losses))


def report(run: Runner, size: str) -> Report:
    """Steps to the loss that training on everything ended with, what was dropped, and the curves."""
    chosen = SIZES[size]
    seeds = range(chosen.seeds)
    same = tuple((name, chosen.share) for name in (NATS, STANDING, RANDOM, LOSS, REFERENCE))
    whole = ((NOTHING, 0.0), (ALL_BAD, 0.0), *same, *((STANDING, share) for share in chosen.others))
    ours = tuple(arm for arm in same if arm[0] in (NATS, STANDING))
    jobs = [Case(chosen, seed, whole) for seed in seeds]
    jobs += [Case(chosen, seed, ours, scored=0.25) for seed in seeds]
    jobs += [Case(chosen, seed, ((NOTHING, 0.0), *same[:3]), bad=0.0) for seed in seeds]
    longer = replace(chosen, characters=3 * chosen.characters, held=3 * chosen.held)
    words = ((NOTHING, 0.0), (ALL_BAD, 0.0), *ours, (REFERENCE, chosen.share))
    jobs += [Case(longer, seed, words, vocabulary=WORDS) for seed in seeds]
    found = run(compared, [(job, {}) for job in jobs])
    pooled, short, clean, pieces = (found[n * chosen.seeds : (n + 1) * chosen.seeds] for n in range(4))
    for one, base in zip(short, pooled, strict=True):
        one["arms"][NOTHING] = base["arms"][NOTHING]
    tables = {
        f"{BAD:.0%} of the pool is not prose": pooled,
        "The same, scored in a quarter of the steps": short,
        "A pool of prose alone": clean,
        f"{BAD:.0%} not prose, {WORDS:,} tokens in place of bytes, three times the text": pieces,
    }
    return Report(_text(chosen, tables, pooled), {"curate.png": _picture(chosen, pooled, clean)})


def _text(size: Size, tables: dict[str, list[Any]], pooled: list[Any]) -> str:
    parts = [
        f"Steps are those to the test loss with which training on everything ends after {size.epochs} epochs, of as "
        "many; tokens read are in the same proportion, since all batches are equally large. Loss: at the end, less "
        f"that of training on everything. Mean ± standard deviation over {size.seeds} seeds."
    ]
    parts += [f"**{title}**:\n\n{_arms(results)}" for title, results in tables.items()]
    parts.append(f"Tokens dropped of each kind, where {size.share:.0%} of all are:\n\n" + _kinds(size, pooled))
    return "\n\n".join(parts)


def _arms(results: list[Any]) -> str:
    rows = []
    for label in results[0]["arms"]:
        if label == NOTHING:
            continue
        parts = [_part(one, label) for one in results]
        ends = [[_smooth(one["arms"][name]["losses"])[-1] for name in (label, NOTHING)] for one in results]
        less = [float(end - level) for end, level in ends]
        there = [100 * part for part in parts if np.isfinite(part)]
        steps = f"{spread(there, 0)} %" if there else "not reached"
        if 0 < len(there) < len(parts):
            steps += f" in {len(there)} of {len(parts)}, else not reached"
        rows.append([label, steps, spread(less, 3)])
    return table(["what is dropped", "steps", "loss, nats"], rows)


def _kinds(size: Size, pooled: list[Any]) -> str:
    names = [_label(name, size.share) for name in (NATS, STANDING, RANDOM, LOSS, REFERENCE)]
    rows = []
    for kind in (*PROSE, *natural(), *INJECTED):
        shares = [[one["arms"][name]["dropped"].get(kind, 0.0) for one in pooled] for name in names]
        rows.append([kind, *(f"{100 * np.mean(found):.0f} %" for found in shares)])
    return table(["kind", *names], rows)


def _picture(size: Size, pooled: list[Any], clean: list[Any]) -> Any:
    figure, (left, right) = axes(2, width=10.0)
    shown = [_label(name, size.share) for name in (NATS, STANDING, REFERENCE, LOSS, RANDOM)]
    colours = dict(zip([*shown, NOTHING], [*COLOURS[: len(shown)], "#111827"], strict=True))
    for label, colour in colours.items():
        curves = [_smooth(one["arms"][label]["losses"]) for one in pooled]
        curve = np.mean([one[: min(map(len, curves))] for one in curves], axis=0)  # seeds differ by a few steps
        left.plot(size.every * np.arange(1, len(curve) + 1), curve, color=colour, label=label)
    level = np.mean([_smooth(one["arms"][NOTHING]["losses"])[-1] for one in pooled])
    left.axhline(level, color="#9ca3af", linewidth=0.8, linestyle="--")
    left.set_ylim(level - 0.2, level + 1.1)
    left.set_xlabel("optimizer step")
    left.set_ylabel("test loss, nats a token")
    left.legend(title="dropped", frameon=False, fontsize=8, title_fontsize=8, loc="upper right")
    for place, label in enumerate(shown):
        for results, marker, name in ((pooled, "o", "pool with bad parts"), (clean, "^", "prose alone")):
            parts = [_part(one, label) for one in results if label in one["arms"]]
            right.scatter(
                [100 * min(part, 1.05) for part in parts],
                [place] * len(parts),
                marker=marker,
                color=colours[label],
                alpha=0.75,
                label=name if not place else None,
            )
    right.set_yticks(range(len(shown)), shown, fontsize=8)
    right.invert_yaxis()
    right.axvline(100, color="#9ca3af", linewidth=0.8, linestyle="--")
    right.set_xlabel("steps to the loss of training on everything, %\n(beyond the line: not reached)")
    right.legend(frameon=False, fontsize=8)
    return figure


def _part(result: Any, label: str) -> float:
    arms = result["arms"]
    return reached(arms[label]["losses"], float(_smooth(arms[NOTHING]["losses"])[-1]))
