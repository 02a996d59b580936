"""Royalties: whose data speaks for a text, beside what the text's loss is after training without each of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from fidelity.materials import CONTEXT
from fidelity.models import mean_loss
from fidelity.runner import Runner
from fidelity.statistics import rank_correlation
from fidelity.tables import spread, table
from fidelity.training import Case, trained
from torch import Tensor, nn

from attribution.afterwards import value_afterwards
from studies.displaced_runs import displaced
from studies.report import Report, axes

TITLE = "Royalty: whose data speaks for a text"
METHODS = ("along the run", "gradients at the end", "amount of data")
KINDS = ("held out", "written by the model")
WRITTEN_BYTES = 6 * CONTEXT
RETRAINING_SEEDS = 1000  # the first of them: other luck than the runs'


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    steps: int
    seeds: int
    retrainings: int


SIZES = {"quick": Size(3, 1, 2), "default": Size(300, 3, 4), "full": Size(600, 6, 6)}


def royalties(case: Case) -> dict[str, object]:
    """For each text ``[texts]`` of each kind: each contributor's figure ``[texts, contributors]`` by each method."""
    model, kept, _ = displaced(case)
    texts = _held_out(case) | _written(case, model)
    values = value_afterwards(
        model, kept, {str(number): _loss(text) for number, text in enumerate(texts.values())}, tolerance=1e-3
    )
    gap = np.abs(values.gap / (values.loss_before - values.loss_after)).max()
    counts = torch.bincount(case.materials.owner).double().tolist()
    return {
        "names": [list(name) for name in texts],
        "texts": [text.tolist() for text in texts.values()],
        "gap": float(gap),
        METHODS[0]: values.values.T,
        METHODS[1]: _at_the_end(case, model, list(texts.values())),
        METHODS[2]: [counts] * len(texts),
    }


def absences(case: Case, texts: list[list[int]]) -> list[list[float]]:
    """The loss on each text without each contributor, less that with everybody, ``[texts, contributors]``."""
    everybody = list(range(len(case.materials.contributors)))
    models = [trained(case, [c for c in everybody if c != out]) for out in (None, *everybody)]
    with torch.no_grad():
        losses = np.array([[float(_loss(torch.tensor(text))(model)) for model in models] for text in texts])
    return (losses[:, 1:] - losses[:, :1]).tolist()


def report(run: Runner, size: str) -> Report:
    """How each method ranks contributors beside their absence, and whom held-out text of a domain pays most."""
    chosen = SIZES[size]
    cases = [Case("text", "domains", "AdamW", 0.002, chosen.steps, 16, seed) for seed in range(chosen.seeds)]
    found = run(royalties, [(case, {}) for case in cases])
    jobs = [
        (Case("text", "domains", "AdamW", 0.002, chosen.steps, 16, RETRAINING_SEEDS + seed), {"texts": one["texts"]})
        for one in found
        for seed in range(chosen.retrainings)
    ]
    results = iter(run(absences, jobs))
    truths = [np.array([next(results) for _ in range(chosen.retrainings)]) for _ in found]
    names = cases[0].materials.contributors
    rows = []
    for kind in KINDS:
        for method in METHODS:
            rows.append([kind, method, *_cells(found, truths, names, kind, method)])
        rows.append([kind, "another retraining", *_cells(found, truths, names, kind, None)])
    gap = max(one["gap"] for one in found)
    text = (
        f"{chosen.steps} steps of a small transformer over bytes, eight contributors, {chosen.seeds} runs; for each of "
        f"seven texts held out and seven written by the model (a domain each), {chosen.retrainings} retrainings "
        "without each contributor. Rank correlation over contributors with the loss on the text without each, mean ± "
        "standard deviation over texts; how often the domain's own contributor gets most; the domain's own share of "
        f"the positive figures. Largest gap of a text: {gap:.1e} of its improvement.\n\n"
        + table(
            ["texts", "figure", "rank correlation with absence", "the domain's own is first", "its mean share"], rows
        )
    )
    return Report(text, {"royalty.png": _picture(found[0], names)})


def _cells(found: list, truths: list, names: list[str], kind: str, method: str | None) -> list[str]:
    correlations, first, share = [], [], []
    for one, truth in zip(found, truths, strict=True):
        half = len(truth) // 2
        for number, (this, domain) in enumerate(one["names"]):
            if this != kind:
                continue
            if method is None:  # how well retraining foretells itself
                figures, against = truth[half:, number].mean(0), truth[:half, number].mean(0)
            else:
                figures, against = np.array(one[method][number]), truth[:, number].mean(0)
            correlations.append(rank_correlation(figures, against))
            positive = figures.clip(min=0)
            first.append(int(figures.argmax()) == names.index(domain))
            share.append(positive[names.index(domain)] / max(positive.sum(), 1e-300))
    return [spread(correlations), f"{np.mean(first):.0%}", f"{np.mean(share):.0%}"]


def _held_out(case: Case) -> dict[tuple[str, str], Tensor]:
    """Held-out text of each domain, bytes ``[rows, CONTEXT + 1]``."""
    data = case.materials
    domains = [name for name in data.contributors if name != "noise"]
    rows = torch.cat([data.held_inputs, data.held_targets[:, -1:]], dim=1)
    return {(KINDS[0], domain): part for domain, part in zip(domains, rows.chunk(len(domains)), strict=True)}


def _written(case: Case, model: nn.Module) -> dict[tuple[str, str], Tensor]:
    """What the model goes on to write after the beginning of each held-out text."""
    draw, found = torch.Generator().manual_seed(case.seed), {}
    for (_, domain), rows in _held_out(case).items():
        written = rows[0][: CONTEXT // 2].tolist()
        with torch.no_grad():
            while len(written) < WRITTEN_BYTES:
                logits = model(torch.tensor([written[-CONTEXT:]]))[0, -1]
                written.append(int(torch.multinomial((logits / 0.7).softmax(0), 1, generator=draw)))
        found[KINDS[1], domain] = torch.tensor(written).unfold(0, CONTEXT + 1, CONTEXT).clone()
    return found


def _loss(rows: Tensor):
    return lambda model: mean_loss(model, rows[:, :-1], rows[:, 1:])


def _at_the_end(case: Case, model: nn.Module, texts: list[Tensor]) -> list[list[float]]:
    """Gradients' products at the trained model, summed over each contributor's rows ``[texts, contributors]``."""
    data, parameters = case.materials, list(model.parameters())

    def gradient(loss: Tensor) -> Tensor:
        return torch.cat([part.reshape(-1) for part in torch.autograd.grad(loss, parameters)])

    own = []
    for contributor in range(len(data.contributors)):
        rows = (data.owner == contributor).nonzero().reshape(-1)
        parts = [gradient(mean_loss(model, data.inputs[r], data.targets[r])) * len(r) for r in rows.split(256)]
        own.append(torch.stack(parts).sum(0))
    queries = torch.stack([gradient(_loss(text)(model)) for text in texts])
    return (queries @ torch.stack(own).T).tolist()


def _picture(one: dict, names: list[str]):
    figure, grid = axes(2, width=10, height=4.2)
    figures = np.array(one[METHODS[0]])
    for panel, kind in zip(grid, KINDS, strict=True):
        chosen = [number for number, (this, _) in enumerate(one["names"]) if this == kind]
        rows = figures[chosen] / np.abs(figures[chosen]).max(axis=1, keepdims=True)
        image = panel.imshow(rows, cmap="RdYlGn", vmin=-1, vmax=1, aspect="auto")
        panel.set_xticks(range(len(names)), names, rotation=45, ha="right")
        panel.set_yticks(range(len(chosen)), [one["names"][number][1] for number in chosen])
        panel.set_xlabel("contributor")
        panel.set_title(f"text {kind}, by domain", fontsize=10, loc="left")
        panel.grid(visible=False)
    figure.colorbar(image, ax=grid, label="value, of the text's largest")
    return figure
