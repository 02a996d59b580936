"""Does taking back a contributor's displacement unlearn it? Against training anew without it, and other ways."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from fidelity.runner import Runner
from fidelity.statistics import area_under_curve
from fidelity.tables import spread, table
from torch import Tensor, nn
from torch.nn import functional

from attribution.uses.unlearning import STRENGTH, forget
from studies.forgetting import KINDS, Case, metered, never_seen, trained
from studies.report import COLOURS, Report, axes

TITLE = "Unlearn: a contributor withdraws"

FIRST_SEED = 100  # the strength was chosen by looking at seed 0
REPAIR_STEPS, REPAIR_RATE, ASCENT = 0.1, 0.1, 0.25  # of the run's steps; of its learning rate; of the repair's steps
STRENGTHS = (0.03, STRENGTH, 0.3, 1.0)
TRAINED, AGAIN, TUNED, ASCENDED = "as trained", "trained anew, other batches", "fine-tuned alone", "ascent, then repair"
ANEW = "trained anew"
OURS, WHOLE = f"{STRENGTH:g} taken back, repaired", "1 taken back, repaired"
MEASURES = {
    "forgotten": "loss on forgotten rows",
    "unseen": "on never-seen rows like them",
    "rest": "on the others' rows",
    "held": "on held-out rows",
    "kl_held": "KL, held-out rows",
    "kl_forgotten": "KL, forgotten rows",
    "attack": "membership AUROC",
    "seconds": "seconds",
}


@dataclass(frozen=True)
class Size:
    """Seeds for each setting, and its runs."""

    seeds: dict[str, int]
    cases: tuple[Case, ...]


DIGITS = (
    Case("digits", "SGD", 0.2, 400),
    Case("digits", "AdamW", 0.003, 400),
    Case("digits", "AdamW", 0.003, 400, warmup=0.0),
)
IMAGES = (Case("images", "SGD", 0.2, 300), Case("images", "AdamW", 0.003, 300))
TEXT = (Case("text", "AdamW", 0.002, 400),)
SIZES = {
    "quick": Size({"digits": 2}, (Case("digits", "AdamW", 0.003, 20),)),
    "default": Size({"digits": 5, "images": 2, "text": 2}, DIGITS + IMAGES + TEXT),
    "full": Size({"digits": 10, "images": 6, "text": 6}, DIGITS + IMAGES + TEXT),
}


def unlearned(case: Case) -> dict[str, Any]:
    """For each kind of contributor and each way to forget it, what came of it; and what had been predicted."""
    model, displacements, record = metered(case)
    found: dict[str, Any] = {}
    for who in KINDS[case.setting]:
        found[who] = _one(case, who, model, displacements, record)
    return found


def _one(case: Case, who: str, model: nn.Module, displacements: Any, record: Any) -> dict[str, Any]:
    data, steps = case.materials, max(1, round(REPAIR_STEPS * case.steps))
    mine, rest = case.rows_of([who]), case.rows_of([who], others=True)
    anew, seconds = _timed(lambda: trained(case, rest))
    unseen = never_seen(case, who)
    judge = _Judge(case, anew, mine, rest, unseen)
    ways = {TRAINED: judge(model, 0.0), ANEW: judge(anew, seconds), AGAIN: judge(trained(case, rest, luck=1), seconds)}

    def repaired(changed: nn.Module) -> nn.Module:
        return _steps(case, changed, rest, steps, 5000)

    tuned, seconds = _timed(lambda: repaired(copy.deepcopy(model)))
    ways[TUNED] = judge(tuned, seconds)
    slopes: dict[str, list[float]] = {}
    for strength in STRENGTHS:
        changed = copy.deepcopy(model)
        began = time.perf_counter()
        result = forget(changed, displacements, who, case_objective(case), strength=strength)
        step = time.perf_counter() - began
        slopes[f"{strength:g}"] = [float(result.slope[0]), float(result.estimate[0] - result.before[0])]
        ways[f"{strength:g} taken back"] = judge(changed, step)
        _, seconds = _timed(lambda changed=changed: repaired(changed))
        ways[f"{strength:g} taken back, repaired"] = judge(changed, step + seconds)

    def ascended() -> nn.Module:
        changed = copy.deepcopy(model)
        _steps(case, changed, mine, max(1, round(ASCENT * steps)), 6000, sign=-1.0)
        return repaired(changed)

    up, seconds = _timed(ascended)
    ways[ASCENDED] = judge(up, seconds)
    at = data.contributors.index(who)
    more = ways[ANEW]["held"] - ways[TRAINED]["held"]
    values = {"steps": float(record.values[at, 0]), "run": float(record.beside["run"].values[at, 0])}
    return {"ways": ways, "slopes": slopes, "values": values, "anew": more}


def case_objective(case: Case) -> Callable[[nn.Module], Tensor]:
    """The validation loss of the case's runs."""
    data = case.materials
    return lambda model: functional.cross_entropy(model(data.held_inputs).flatten(0, -2), data.held_targets.flatten())


def _steps(case: Case, model: nn.Module, rows: Tensor, steps: int, seed: int, sign: float = 1.0) -> nn.Module:
    """A few steps on some rows at the repair's low learning rate, after a short rise; with −1 uphill."""
    optimizer, rise = case.optimizer_of(model, REPAIR_RATE), max(1, round(0.1 * steps))
    for step, batch in enumerate(case.batches(rows, steps, seed + case.seed)):
        for group in optimizer.param_groups:
            group["lr"] = REPAIR_RATE * case.rate * min(1.0, (step + 1) / rise)
        (sign * case.loss(model, batch)).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


class _Judge:
    """Measures a model beside the one that was trained anew."""

    def __init__(self, case: Case, anew: nn.Module, mine: Tensor, rest: Tensor, unseen: tuple[Tensor, Tensor]) -> None:
        data = case.materials
        self._forgotten = data.inputs[mine], data.targets[mine]
        self._rest = data.inputs[rest], data.targets[rest]
        self._held, self._unseen = (data.held_inputs, data.held_targets), unseen
        self._truth = _logits(anew, self._held[0]), _logits(anew, self._forgotten[0])

    def __call__(self, model: nn.Module, seconds: float) -> dict[str, float]:
        forgotten, unseen = (_losses(model, *rows) for rows in (self._forgotten, self._unseen))
        members = np.concatenate([np.ones(len(forgotten), dtype=bool), np.zeros(len(unseen), dtype=bool)])
        return {
            "forgotten": float(forgotten.mean()),
            "unseen": float(unseen.mean()),
            "rest": float(_losses(model, *self._rest).mean()),
            "held": float(_losses(model, *self._held).mean()),
            "kl_held": _divergence(self._truth[0], _logits(model, self._held[0])),
            "kl_forgotten": _divergence(self._truth[1], _logits(model, self._forgotten[0])),
            "attack": area_under_curve(-np.concatenate([forgotten, unseen]), members),
            "seconds": seconds,
        }


def _logits(model: nn.Module, inputs: Tensor) -> Tensor:
    """Log probabilities ``[rows, ..., classes]``."""
    with torch.no_grad():
        return functional.log_softmax(torch.cat([model(part) for part in inputs.split(256)]).double(), dim=-1)


def _losses(model: nn.Module, inputs: Tensor, targets: Tensor) -> np.ndarray:
    """Each row's loss, the mean over its places."""
    found = _logits(model, inputs).gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return -found.reshape(len(inputs), -1).mean(dim=1).numpy()


def _divergence(truth: Tensor, other: Tensor) -> float:
    """KL(truth ‖ other), nats, the mean over rows and places."""
    return float((truth.exp() * (truth - other)).sum(dim=-1).mean())


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    return work(), time.perf_counter() - began


def report(run: Runner, size: str) -> Report:
    """What each way to forget comes to, by setting and kind of contributor; by strength; and what was predicted."""
    much = SIZES[size]
    jobs = [(case, much.seeds[case.setting]) for case in much.cases]
    asked = [(replace(case, seed=FIRST_SEED + seed), {}) for case, seeds in jobs for seed in range(seeds)]
    results = iter(run(unlearned, asked))
    found = {case: [next(results) for _ in range(seeds)] for case, seeds in jobs}
    texts = [_about(found), _summary(found, "kl_forgotten"), _summary(found, "kl_held"), _summary(found, "attack")]
    texts += [_strengths(found), _predictions(found), *_details(found)]
    return Report("\n\n".join(texts), {"unlearn.png": _picture(found)})


Found = dict[Case, list[dict[str, Any]]]


def _about(found: Found) -> str:
    seeds = ", ".join(f"{case.setting} {case.update}, {case.steps} steps: {len(runs)}" for case, runs in found.items())
    return (
        f"Mean ± standard deviation over seeds ({seeds}). KL: of the model trained anew without the contributor from "
        "the other one, in nats. Membership AUROC: of a threshold on the loss, forgotten rows against never-seen rows "
        f"of the same kind; 0.5 tells nothing. A repair is {REPAIR_STEPS:.0%} of the run's steps at {REPAIR_RATE:g} of "
        f"its peak learning rate, on the others' rows; an ascent, {ASCENT:.0%} as many on the forgotten rows before it."
    )


def _of(runs: Sequence[dict[str, Any]], who: str, way: str, measure: str) -> list[float]:
    return [run[who]["ways"][way][measure] for run in runs]


def _summary(found: Found, measure: str) -> str:
    ways = [TRAINED, TUNED, ASCENDED, f"{STRENGTH:g} taken back", OURS, WHOLE, AGAIN]
    if measure == "attack":
        ways.append(ANEW)
    rows = [
        [case.setting, case.update, f"{who} ({kind})", *(spread(_of(runs, who, way, measure), 3) for way in ways)]
        for case, runs in found.items()
        for who, kind in KINDS[case.setting].items()
    ]
    return f"{MEASURES[measure]}:\n\n" + table(["setting", "update", "contributor", *ways], rows)


def _strengths(found: Found) -> str:
    ways = [TUNED, *(f"{strength:g} taken back, repaired" for strength in STRENGTHS)]
    rows = []
    for case, runs in found.items():
        for who, kind in KINDS[case.setting].items():
            cells = [
                f"{np.mean(_of(runs, who, way, 'kl_held')):.3f} / {np.mean(_of(runs, who, way, 'kl_forgotten')):.3f}"
                for way in ways
            ]
            rows.append([case.setting, case.update, f"{who} ({kind})", *cells])
    return "By strength, KL on held-out / forgotten rows, all repaired:\n\n" + table(
        ["setting", "update", "contributor", "0 (fine-tuned alone)", *(f"{strength:g}" for strength in STRENGTHS)], rows
    )


def _predictions(found: Found) -> str:
    rows = []
    for case, runs in found.items():
        for who, kind in KINDS[case.setting].items():
            ours = [[run[who]["slopes"][f"{strength:g}"] for run in runs] for strength in (STRENGTH, 1.0)]
            rows.append(
                [
                    case.setting,
                    case.update,
                    f"{who} ({kind})",
                    *(spread([run[who]["values"][by] for run in runs]) for by in ("steps", "run")),
                    spread([run[who]["anew"] for run in runs]),
                    *(spread([pair[i] for pair in pairs]) for pairs in ours for i in (0, 1)),
                ]
            )
    columns = ["setting", "update", "contributor", "predicted without it, values of steps", "of the run"]
    columns += ["measured, trained anew", f"slope, {STRENGTH:g}", "measured", "slope, 1", "measured"]
    return "Change of the validation loss, nats:\n\n" + table(columns, rows)


def _details(found: Found) -> list[str]:
    texts = []
    for case, runs in found.items():
        for who, kind in KINDS[case.setting].items():
            ways = runs[0][who]["ways"]
            rows = [[way, *(spread(_of(runs, who, way, measure), 3) for measure in MEASURES)] for way in ways]
            texts.append(
                f"{case.setting}, {case.update}, {who} ({kind}):\n\n{table(['way', *MEASURES.values()], rows)}"
            )
    return texts


def _picture(found: Found) -> Any:
    """KL on forgotten rows by strength, a panel a kind of contributor; a line a run."""
    kinds = list(dict.fromkeys(kind for by_who in KINDS.values() for kind in by_who.values()))
    figure, grid = axes(len(kinds), width=10.5, height=3.4)
    places = np.arange(len(STRENGTHS) + 1)
    for axis, kind in zip(grid, kinds, strict=True):
        for (case, runs), colour in zip(found.items(), COLOURS, strict=False):
            who = next(name for name, own in KINDS[case.setting].items() if own == kind)
            ways = [TUNED, *(f"{strength:g} taken back, repaired" for strength in STRENGTHS)]
            means = np.array([np.mean(_of(runs, who, way, "kl_forgotten")) for way in ways])
            floor = float(np.mean(_of(runs, who, AGAIN, "kl_forgotten")))
            label = f"{case.setting}, {case.update}"
            axis.plot(places, means, color=colour, marker="o", markersize=3.5, label=label)
            axis.axhline(floor, color=colour, linewidth=0.8, linestyle=(0, (2, 2)))
        axis.set_yscale("log")
        axis.set_xticks(places, ["0", *(f"{strength:g}" for strength in STRENGTHS)])
        axis.set_title(kind, loc="left", fontsize=10)
        axis.set_xlabel("taken back, then repaired")
    grid[0].set_ylabel("KL from the model trained anew,\nforgotten rows, nats")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure
