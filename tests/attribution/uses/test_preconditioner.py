"""Preconditioners against matrices written out in full, and where EK-FAC is exact against the Fisher matrix itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from attribution.uses.errors import UseError
from attribution.uses.preconditioner import fitted
from attribution.uses.tracer import Tracer

DAMPING = 0.3


class Tied(nn.Module):
    """An embedding whose weight is the head's too, and a layer between them."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.middle = nn.Embedding(7, 4), Conv1D(4, 4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.table.weight

    def forward(self, rows: Tensor) -> Tensor:
        return self.head(torch.tanh(self.middle(self.table(rows))))


def linear() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


def squares(model: nn.Module, rows: Tensor) -> Tensor:
    return (model(rows) - 1).square().sum()


def data(model: nn.Module) -> list[Tensor]:
    shape = (20, 6)
    return list(torch.randint(7, shape)) if isinstance(model, Tied) else list(torch.randn(*shape, 4).double())


def gradients(model: nn.Module, rows: list[Tensor]) -> Tensor:
    parameters = list(model.parameters())
    found = [torch.autograd.grad(squares(model, row.unsqueeze(0)), parameters) for row in rows]
    return torch.stack([torch.cat([part.reshape(-1) for part in parts]) for parts in found])


def damped_inverse(eigenvalues: Tensor) -> Tensor:
    return 1 / (eigenvalues + DAMPING * eigenvalues.mean())


@pytest.mark.parametrize("make", [linear, Tied])
def test_the_diagonal_one_divides_by_the_mean_squares_of_the_samples_gradients(make: type[nn.Module]) -> None:
    torch.manual_seed(1)
    model = make().double()
    rows = data(model)
    each, query = gradients(model, rows), torch.randn(sum(p.numel() for p in model.parameters())).double()
    with Tracer(model, squares) as tracer:
        found = fitted("diagonal", tracer, rows, DAMPING)(query)
        assert torch.equal(fitted("identity", tracer, [])(query), query)
    at, expected = 0, []
    for parameter in model.parameters():
        part = slice(at, at + parameter.numel())
        expected.append(query[part] * damped_inverse(each[:, part].square().mean(0)))
        at = part.stop
    torch.testing.assert_close(found, torch.cat(expected), rtol=1e-10, atol=0)


@pytest.mark.parametrize("make", [linear, Tied])
def test_the_kronecker_one_is_the_matrix_with_the_factors_eigenvectors(make: type[nn.Module]) -> None:
    """P as a dense matrix: Kronecker products of eigenvectors, and variances of the samples' gradients along them."""
    torch.manual_seed(2)
    model = make().double()
    rows = data(model)
    each, queries = gradients(model, rows), torch.randn(3, sum(p.numel() for p in model.parameters())).double()
    with Tracer(model, squares) as tracer:
        found = fitted("kronecker", tracer, rows, DAMPING)(queries)
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    for name, layer in model.named_modules():
        if isinstance(layer, (nn.Linear, Conv1D)) and name != "head":
            seen[f"{name}.weight"] = _second_moments(model, layer, rows)
    at, expected = 0, []
    for name, parameter in model.named_parameters():
        part, vectors = slice(at, at + parameter.numel()), torch.eye(parameter.numel()).double()
        at = part.stop
        if name in seen:
            left, right = (torch.linalg.eigh(moment).eigenvectors for moment in seen[name])
            vectors = torch.kron(left, right)
        variances = (each[:, part] @ vectors).square().mean(0)
        matrix = vectors @ torch.diag(damped_inverse(variances)) @ vectors.t()
        torch.testing.assert_close(matrix, matrix.t())
        expected.append(queries[:, part] @ matrix)
    assert len(seen) == (1 if make is Tied else 2)  # the tied weight has its diagonal
    torch.testing.assert_close(found, torch.cat(expected, dim=1), rtol=1e-8, atol=1e-10)


def _second_moments(model: nn.Module, layer: nn.Module, rows: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Of the weight's first axis and its second."""
    kept: list[Tensor] = []
    handles = [
        layer.register_forward_hook(lambda _, inputs, output: kept.append(inputs[0].detach())),
        layer.register_full_backward_hook(lambda _, inputs, outputs: kept.append(outputs[0])),
    ]
    for row in rows:
        squares(model, row.unsqueeze(0)).backward()
    for handle in handles:
        handle.remove()
    model.zero_grad()
    a, b = torch.cat(kept[::2]).flatten(0, 1), torch.cat(kept[1::2]).flatten(0, 1)
    return (a.t() @ a, b.t() @ b) if isinstance(layer, Conv1D) else (b.t() @ b, a.t() @ a)


def test_where_all_output_gradients_are_of_one_size_the_kronecker_one_is_the_inverse_of_the_fisher_matrix() -> None:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(6, 1, bias=False)).double()
    rows = [row.unsqueeze(0) for row in torch.randn(40, 6).double() @ torch.randn(6, 6).double()]

    def signed(model: nn.Module, batch: Tensor) -> Tensor:
        return (model(batch) * batch.sum(-1, keepdim=True).sign()).sum()

    fisher = torch.stack([row[0] for row in rows]).t() @ torch.stack([row[0] for row in rows]) / len(rows)
    fisher += DAMPING * torch.trace(fisher) / 6 * torch.eye(6)
    query = torch.randn(6).double()
    with Tracer(model, signed) as tracer:
        found = fitted("kronecker", tracer, rows, DAMPING)(query)
        diagonal = fitted("diagonal", tracer, rows, DAMPING)(query)
    torch.testing.assert_close(found, torch.linalg.solve(fisher, query), rtol=1e-9, atol=0)
    assert (diagonal - found).norm() > 0.1 * found.norm()


def test_lengths_are_what_the_preconditioner_measures() -> None:
    torch.manual_seed(4)
    model = linear().double()
    rows = data(model)
    each = gradients(model, rows)
    with Tracer(model, squares) as tracer:
        precondition = fitted("kronecker", tracer, rows, DAMPING)
        found = torch.from_numpy(tracer.lengths(rows, precondition))
        plain = torch.from_numpy(tracer.lengths(rows, lambda gradient: gradient))
    torch.testing.assert_close(plain, each.norm(dim=1))
    torch.testing.assert_close(found, (each * precondition(each)).sum(1).sqrt())


def test_what_is_no_preconditioner_is_refused() -> None:
    model = linear().double()
    with Tracer(model, squares) as tracer:
        for name, rows, damping in (("shampoo", data(model), 0.1), ("diagonal", [], 0.1), ("diagonal", data(model), 0)):
            with pytest.raises(UseError):
                fitted(name, tracer, rows, damping)
