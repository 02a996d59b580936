"""The optimizers once more, in plain words: for each the scaling of the whole step, and what is linear in gradients.

`observe` sees the whole gradient and sets the scaling; `move` takes any number of gradients ``[parts, *shape]``
through what is linear, with the scaling held fixed, and returns the displacements. Weight decay, which is the same
for all of them, is the caller's.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


class ByHand:
    def __init__(self, options: dict) -> None:
        self.o, self.t, self.m = options, 0, 0.0
        self.held: Tensor | float = 1.0

    def observe(self, g: Tensor) -> None:
        """Step t is the next one to be moved."""

    def move(self, g: Tensor) -> Tensor:
        self.t += 1
        return -self.o["lr"] * self.held * self.linear(g)

    def linear(self, g: Tensor) -> Tensor:
        return g

    def forget(self) -> None:
        """Forget the linear state, and nothing else."""
        self.m = 0.0

    def average(self, g: Tensor, beta: float) -> Tensor:
        self.m = beta * self.m + (1 - beta) * g
        return self.m


class SGD(ByHand):
    first = True

    def linear(self, g: Tensor) -> Tensor:
        if self.o["momentum"] == 0:
            return g
        dampening = 0.0 if self.first else self.o["dampening"]
        self.first = False
        self.m = self.o["momentum"] * self.m + (1 - dampening) * g
        return g + self.o["momentum"] * self.m if self.o["nesterov"] else self.m


class Adam(ByHand):
    v = top = 0.0

    def observe(self, g: Tensor) -> None:
        beta2 = self.o["betas"][1]
        self.v = beta2 * self.v + (1 - beta2) * g**2
        self.top = torch.maximum(torch.as_tensor(self.top), self.v) if self.o.get("amsgrad") else self.v
        self.held = 1 / (torch.sqrt(self.top / (1 - beta2 ** (self.t + 1))) + self.o["eps"])

    def linear(self, g: Tensor) -> Tensor:
        beta1 = self.o["betas"][0]
        return self.average(g, beta1) / (1 - beta1**self.t)


class NAdam(Adam):
    product = 1.0

    def schedule(self, t: int) -> float:
        return self.o["betas"][0] * (1 - 0.96 ** (t * self.o["momentum_decay"]) / 2)

    def linear(self, g: Tensor) -> Tensor:
        now, after = self.schedule(self.t), self.schedule(self.t + 1)
        self.product *= now
        m = self.average(g, self.o["betas"][0])
        return g * (1 - now) / (1 - self.product) + m * after / (1 - self.product * after)


class RAdam(Adam):
    def observe(self, g: Tensor) -> None:
        beta2, t = self.o["betas"][1], self.t + 1
        self.v = beta2 * self.v + (1 - beta2) * g**2
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * t * beta2**t / (1 - beta2**t)
        self.held = 1.0
        if length > 5:
            r = math.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))
            self.held = r * math.sqrt(1 - beta2**t) / (torch.sqrt(self.v) + self.o["eps"])


class RMSprop(ByHand):
    v = mean = 0.0

    def observe(self, g: Tensor) -> None:
        alpha = self.o["alpha"]
        self.v = alpha * self.v + (1 - alpha) * g**2
        self.mean = alpha * self.mean + (1 - alpha) * g
        self.scale = 1 / (torch.sqrt(self.v - self.mean**2 * self.o["centered"]) + self.o["eps"])

    def linear(self, g: Tensor) -> Tensor:
        self.m = self.o["momentum"] * self.m + g * self.scale
        return self.m


class Adagrad(ByHand):
    def __init__(self, options: dict) -> None:
        super().__init__(options)
        self.v = options["initial_accumulator_value"]

    def observe(self, g: Tensor) -> None:
        self.v = self.v + g**2
        self.held = 1 / (1 + self.t * self.o["lr_decay"]) / (torch.sqrt(self.v) + self.o["eps"])


class Adadelta(ByHand):
    v = d = 0.0

    def observe(self, g: Tensor) -> None:
        rho, eps = self.o["rho"], self.o["eps"]
        self.v = rho * self.v + (1 - rho) * g**2
        self.held = torch.sqrt(torch.as_tensor(self.d + eps)) / torch.sqrt(self.v + eps)
        self.d = rho * self.d + (1 - rho) * (self.held * g) ** 2


class Adamax(Adam):
    def observe(self, g: Tensor) -> None:
        self.v = torch.maximum(self.o["betas"][1] * torch.as_tensor(self.v), abs(g) + self.o["eps"])
        self.held = 1 / self.v


class ASGD(ByHand):
    eta = None

    def observe(self, g: Tensor) -> None:
        self.rate = self.o["lr"] if self.eta is None else self.eta
        self.eta = self.o["lr"] / (1 + self.o["lambd"] * self.o["lr"] * (self.t + 1)) ** self.o["alpha"]
        self.held = self.rate / self.o["lr"]


class Rprop(ByHand):
    before = size = None

    def observe(self, g: Tensor) -> None:
        if self.size is None:
            self.before, self.size = torch.zeros_like(g), torch.full_like(g, self.o["lr"])
        agreement = g * self.before
        growth = torch.ones_like(g)
        growth[agreement > 0], growth[agreement < 0] = self.o["etas"][1], self.o["etas"][0]
        self.size = (self.size * growth).clamp(*self.o["step_sizes"])
        self.before = torch.where(agreement < 0, 0.0, g)
        self.held = torch.where(self.before == 0, 0.0, self.size / abs(g)) / self.o["lr"]


class Lion(ByHand):
    whole = 0.0

    def observe(self, g: Tensor) -> None:
        beta1, beta2 = self.o["betas"]
        u = beta1 * self.whole + (1 - beta1) * g
        self.held = torch.where(u == 0, 0.0, 1 / abs(u))
        self.whole = beta2 * self.whole + (1 - beta2) * g

    def linear(self, g: Tensor) -> Tensor:
        beta1, beta2 = self.o["betas"]
        u = beta1 * self.m + (1 - beta1) * g
        self.m = beta2 * self.m + (1 - beta2) * g
        return u


class Muon(ByHand):
    whole = 0.0

    def observe(self, g: Tensor) -> None:
        mu = self.o["momentum"]
        self.whole = mu * self.whole + (1 - mu) * g
        u = mu * self.whole + (1 - mu) * g if self.o["nesterov"] else self.whole
        rows, columns = g.shape
        self.left = rows <= columns
        squares, vectors = torch.linalg.eigh(u @ u.T if self.left else u.T @ u)
        singular = squares.clamp(min=0).sqrt() / u.norm()
        factors = torch.full_like(singular, 1 / float(u.norm()))
        a, b, c = self.o["ns_coefficients"]
        for _ in range(self.o["ns_steps"]):
            polynomial = a + b * singular**2 + c * singular**4
            factors, singular = factors * polynomial, singular * polynomial
        self.matrix = vectors @ torch.diag(factors) @ vectors.T
        ratio = 0.2 * max(g.shape) ** 0.5 if self.o["adjust_lr_fn"] == "match_rms_adamw" else None
        self.held = ratio or max(1.0, rows / columns) ** 0.5

    def linear(self, g: Tensor) -> Tensor:
        mu = self.o["momentum"]
        m = self.average(g, mu)
        u = mu * m + (1 - mu) * g if self.o["nesterov"] else m
        return self.matrix @ u if self.left else u @ self.matrix
