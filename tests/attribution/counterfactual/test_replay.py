"""Values by replays: closed forms, axioms, and where they meet retraining."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from attribution import RunRecord, exact_retraining
from attribution.counterfactual.game import Batch
from attribution.counterfactual.replay import Replayed, replay
from tests.attribution.counterfactual.weighted import NAMES, OPTIMIZERS, as_batches, row_losses, trained
from tests.attribution.runs import batches, classifier, drawn, objective

STEPS, RATE = 25, 0.3


def replayed(
    data: Sequence[Batch], contributors: Sequence[str] = NAMES, optimizer: str = "SGD, momentum", **options: object
) -> Replayed:
    model = classifier()
    goal = options.pop("goal", objective())
    chosen = OPTIMIZERS[optimizer](list(model.parameters()))
    return replay(model, chosen, data, goal, contributors, **{"nodes": 5} | options)


class LeastSquares:
    """Full-batch descent on Σ_c w_c (½ θᵀA_cθ − b_cᵀθ), with A = Σ_c w_c A_c and Aθ* = b.

    θ_T(w) = θ* + (1 − ηA)ᵀ(θ_0 − θ*), T a power.
    """

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(4)
        self.x, self.held = torch.randn(12, 3, generator=generator), torch.randn(20, 3, generator=generator)
        self.y = self.x @ torch.tensor([1.0, -2.0, 0.5]) + torch.randn(12, generator=generator)
        self.held_y = self.held @ torch.tensor([1.0, -2.0, 0.5])
        self.who = torch.arange(12) % 3
        self.model = nn.Linear(3, 1, bias=False)

    def losses(self, model: nn.Module) -> Tensor:
        return (model(self.x).squeeze(1) - self.y).square() / (2 * len(self.y))

    def goal(self, model: nn.Module) -> Tensor:
        return (model(self.held).squeeze(1) - self.held_y).square().mean()

    def end(self, weights: Tensor) -> Tensor:
        rows = weights[self.who] / len(self.y)
        a, b = self.x.T @ (rows[:, None] * self.x), self.x.T @ (rows * self.y)
        best = torch.linalg.solve(a, b)
        start = self.model.weight.detach()[0]
        return best + torch.linalg.matrix_power(torch.eye(3) - RATE * a, STEPS) @ (start - best)

    def value(self, panels: int = 60) -> Tensor:
        """Gauss-Legendre with many nodes over the closed form, differentiated by autograd."""
        places, lengths = np.polynomial.legendre.leggauss(panels)
        total = torch.zeros(3)
        for s, share in zip((places + 1) / 2, lengths / 2, strict=True):
            at = torch.full((3,), float(s))
            tangents = torch.autograd.functional.jacobian(self.end, at)  # [P, K]
            residual = self.held @ self.end(at) - self.held_y
            total -= share * (2 * self.held.T @ residual / len(self.held_y)) @ tangents
        return total


def test_least_squares_have_the_value_of_their_closed_form() -> None:
    case = LeastSquares()
    optimizer = torch.optim.SGD(case.model.parameters(), lr=RATE)
    found = replay(case.model, optimizer, [Batch(case.who, case.losses)] * STEPS, case.goal, NAMES, nodes=24)
    assert found.values[:, 0] == pytest.approx(case.value().numpy(), rel=1e-9)
    assert found.gap == pytest.approx(0, abs=1e-9)
    assert found.house == 0


def test_the_sum_meets_the_improvement_as_nodes_grow() -> None:
    data = as_batches(batches(12, 3))
    for optimizer in ("SGD", "SGD, Nesterov, weight decay", "AdamW"):
        gaps = [
            abs(float(found.gap[0] / found.improvement[0]))
            for found in (replayed(data, optimizer=optimizer, nodes=nodes) for nodes in (2, 5, 12))
        ]
        assert gaps[0] > gaps[2], optimizer
        assert gaps[1] < 1e-2, optimizer
        assert gaps[2] < 1e-6, optimizer


@pytest.mark.parametrize("optimizer", ["SGD, momentum", "AdamW"])
def test_a_contributor_in_two_identities_is_paid_as_one(optimizer: str) -> None:
    data = as_batches(batches(6, 3))
    split = [Batch(torch.where((b.who == 2) & (torch.arange(8) % 2 == 0), 3, b.who), b.losses) for b in data]
    one = replayed(data, optimizer=optimizer)
    two = replayed(split, [*NAMES, "cid again"], optimizer=optimizer)
    assert two.values[:2] == pytest.approx(one.values[:2], rel=1e-10)
    assert two.values[2:].sum() == pytest.approx(one.values[2:].sum(), rel=1e-10)


def test_equal_data_are_paid_alike() -> None:
    data = []
    for step in range(5):
        x, y = drawn(4, step)
        twice = torch.cat([x, x[:2]]), torch.cat([y, y[:2]])
        data.append(Batch(torch.tensor([0, 0, 2, 2, 1, 1]), row_losses(*twice)))
    found = replayed(data)
    assert found.values[0] == pytest.approx(found.values[1], rel=1e-12)
    assert found.values[0] != pytest.approx(found.values[2], rel=0.1)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_who_adds_nothing_gets_nothing(optimizer: str) -> None:
    def silenced(batch: Batch) -> Batch:
        return Batch(batch.who, lambda model: batch.losses(model) * (batch.who != 1))

    found = replayed([silenced(b) for b in as_batches(batches(4, 3))], optimizer=optimizer, nodes=2)
    assert found.values[1] == 0
    assert (found.values[[0, 2]] != 0).all()


def test_the_order_of_contributors_and_of_chunks_is_irrelevant() -> None:
    data = as_batches(batches(6, 3))
    turned = [Batch(2 - b.who, b.losses) for b in data]
    assert replayed(turned, NAMES[::-1], chunk=2).values[::-1] == pytest.approx(replayed(data).values, rel=1e-12)


def test_tasks_add_up() -> None:
    data, first, second = as_batches(batches(6, 3)), objective(7), objective(8)
    both = replayed(data, goal={"first": first, "second": second}, substitution=1)
    mean = replayed(data, substitution=1, goal=lambda model: (first(model) + second(model)) / 2)
    assert both.tasks == ["first", "second"]
    assert both.values.mean(axis=1) == pytest.approx(mean.values[:, 0], rel=1e-10)
    assert both.gap.mean() == pytest.approx(mean.gap[0], abs=1e-12)


def test_what_training_does_with_nobodys_data_is_the_houses() -> None:
    data = [Batch(torch.where(torch.arange(8) < 4, -1, b.who), b.losses) for b in as_batches(batches(6, 3))]
    found = replayed(data, optimizer="SGD, Nesterov, weight decay", nodes=8)
    model = classifier()
    before = objective()(model).item()
    trained(model, OPTIMIZERS["SGD, Nesterov, weight decay"](list(model.parameters())), data, (0, 0, 0))
    assert found.house == pytest.approx(before - objective()(model).item(), rel=1e-9)
    assert abs(found.house) > 0.01
    assert found.values.sum() + found.house + found.gap == pytest.approx(found.improvement, rel=1e-12)
    assert abs(found.gap) < 1e-5


def test_shapley_values_of_masked_retraining_are_met_to_first_order() -> None:
    data = as_batches(batches(8, 3))

    def apart(rate: float) -> float:
        def retrained(coalition: Sequence[str], seed: int) -> float:
            model = classifier()
            trained(model, torch.optim.SGD(model.parameters(), lr=rate), data, [name in coalition for name in NAMES])
            return objective()(model).item()

        model = classifier()
        found = replay(model, torch.optim.SGD(model.parameters(), lr=rate), data, objective(), NAMES, nodes=8)
        shapley = exact_retraining(retrained, NAMES, seeds=(0,))
        assert found.improvement == pytest.approx(shapley.improvement, rel=1e-12)
        return float(np.abs(found.values - shapley.values).max() / np.abs(shapley.values).max())

    coarse, middle, fine = (apart(rate) for rate in (0.4, 0.04, 0.004))
    assert fine < 1e-5
    assert middle < coarse / 5
    assert fine < middle / 5


@pytest.mark.parametrize(("nodes", "power"), [(1, 1.0), (4, 1.0), (4, 2.0), (8, 3.0)])
def test_with_a_preconditioner_of_its_own_all_worth_lies_where_no_node_is(nodes: int, power: float) -> None:
    data = as_batches(batches(12, 3))
    model = classifier()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03, eps=1e-30)  # epsilon alone would see the scale
    own, recorded = (
        replay(model, optimizer, data, objective(), NAMES, nodes=nodes, substitution=power, preconditioner=whose)
        for whose in ("own", "recorded")
    )
    assert own.improvement == recorded.improvement
    assert own.improvement > 0.5
    assert abs(own.values.sum()) < 1e-9 * np.abs(own.values).max()
    assert recorded.values.sum() > 0.1


def test_the_record_says_what_was_found(tmp_path) -> None:
    data = as_batches(batches(6, 3))
    found = replayed(data, goal={"first": objective(7), "second": objective(8)})
    record = found.as_record(task_weights={"first": 0.25, "second": 0.75}, details={"data": "drawn"})
    loaded = RunRecord.load(record.save(tmp_path / "record"))
    for name in ("values", "house", "gap", "improvement", "rows"):
        assert getattr(loaded, name) == pytest.approx(getattr(found, name), rel=1e-12), name
    assert loaded.weights.tolist() == [0.25, 0.75]
    assert (len(loaded.steps), loaded.manifest["steps"], loaded.rows.sum()) == (1, 6, 48)
    assert loaded.details["method"]["name"] == "replay"
    assert loaded.details["data"] == "drawn"


def test_progress_counts_replays() -> None:
    seen: list[tuple[int, int]] = []
    replayed(as_batches(batches(2, 3)), nodes=3, substitution=1, progress=lambda *so_far: seen.append(so_far))
    assert seen == [(n + 1, 5) for n in range(5)]


def test_model_optimizer_and_random_numbers_are_as_before() -> None:
    model = nn.Sequential(nn.Linear(6, 10), nn.Dropout(0.5), nn.Linear(10, 3)).train()
    model.register_buffer("places", torch.arange(3))
    optimizer = OPTIMIZERS["AdamW"](list(model.parameters()))
    model[0].weight.grad = torch.ones_like(model[0].weight)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    replay(model, optimizer, as_batches(batches(3, 3)), objective(), NAMES, nodes=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert bool((model[0].weight.grad == 1).all())
    assert model[2].weight.grad is None
    assert all(module.training for module in model.modules())
    assert not optimizer.state


def test_attention_and_embeddings_have_tangents() -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.norm = nn.Embedding(7, 8), nn.LayerNorm(8)
            self.qkv, self.head = nn.Linear(8, 24), nn.Linear(8, 7)

        def forward(self, ids: Tensor) -> Tensor:
            x = self.tokens(ids)
            q, k, v = self.qkv(self.norm(x)).unsqueeze(1).chunk(3, dim=-1)
            mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            return self.head(x + mixed.squeeze(1))

    def losses(ids: Tensor):
        def rows(model: nn.Module) -> Tensor:
            found = functional.cross_entropy(model(ids[:, :-1]).transpose(1, 2), ids[:, 1:], reduction="none")
            return found.mean(dim=1) / len(ids)

        return rows

    generator = torch.Generator().manual_seed(0)
    texts = [torch.randint(0, 7, (6, 5), generator=generator) for _ in range(9)]
    data = [Batch(torch.arange(6) % 3, losses(text)) for text in texts]
    model = Reader()
    goal = losses(texts[0])
    found = replay(model, torch.optim.SGD(model.parameters(), lr=0.5), data, lambda m: goal(m).sum(), NAMES, nodes=8)
    assert abs(found.gap) < 1e-6 * found.improvement
