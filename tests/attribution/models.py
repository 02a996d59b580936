"""Models that people write, each with the quirk it is here for; all in float64 by the tests."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

VOCABULARY, WIDTH, CLASSES = 11, 8, 5


class Perceptron(nn.Module):
    """An MLP over vectors."""

    def __init__(self, bias: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(WIDTH, 12, bias=bias), nn.Tanh(), nn.LayerNorm(12), nn.Dropout(dropout), nn.Linear(12, CLASSES)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Attention(nn.Module):
    """Causal self-attention, one head, on ``[batch, time, features]``."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        return self.out(functional.scaled_dot_product_attention(q, k, v, is_causal=True))


class TiedLanguageModel(nn.Module):
    """Tokens in, logits out; the input and output embeddings are one weight; positions by `positions`."""

    def __init__(self, positions: str = "embedding_1T", context: int = 16) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.kind = positions
        if positions == "parameter":
            self.position = nn.Parameter(torch.randn(context, WIDTH))
        else:
            self.position = nn.Embedding(context, WIDTH)
        self.norm, self.attention, self.mlp = nn.LayerNorm(WIDTH), Attention(), nn.Linear(WIDTH, WIDTH)
        self.scale = nn.Parameter(torch.ones(WIDTH))
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, ids: Tensor) -> Tensor:
        steps = torch.arange(ids.shape[1])
        x = self.tokens(ids)
        if self.kind == "parameter":
            x = x + self.position[: ids.shape[1]]
        elif self.kind == "embedding_1T":
            x = x + self.position(steps.unsqueeze(0))
        else:
            x = x + self.position(steps)
        x = x + self.attention(self.norm(x))
        x = x + torch.tanh(self.mlp(x)) * self.scale
        return self.head(x)


class BorrowedHead(nn.Module):
    """The output projection borrows the embedding's weight by a function call."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.mlp = nn.Embedding(VOCABULARY, WIDTH, padding_idx=0), nn.Linear(WIDTH, WIDTH)

    def forward(self, ids: Tensor) -> Tensor:
        return functional.linear(torch.tanh(self.mlp(self.tokens(ids))), self.tokens.weight)


class Transposing(nn.Module):
    """Batch-first outside, time-first inside."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.inside = nn.Embedding(VOCABULARY, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.recurrent = nn.GRU(WIDTH, WIDTH)
        self.norm, self.out = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCABULARY)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.inside(self.tokens(ids.t()))
        x, _ = self.recurrent(x)
        return self.out(self.norm(x)).transpose(0, 1)


class Flattening(nn.Module):
    """Flattens batch and time before its layers, in either order."""

    def __init__(self, time_major: bool) -> None:
        super().__init__()
        self.time_major = time_major
        self.tokens, self.a, self.b = nn.Embedding(VOCABULARY, WIDTH), nn.Linear(WIDTH, 6), nn.Linear(6, VOCABULARY)

    def forward(self, ids: Tensor) -> Tensor:
        batch, time = ids.shape
        ids = ids.t() if self.time_major else ids
        x = self.b(torch.relu(self.a(self.tokens(ids.reshape(-1)))))
        return x.view(time, batch, -1).transpose(0, 1) if self.time_major else x.view(batch, time, -1)


class SequenceFirst(nn.Module):
    """Time-first from its inputs on, with attention over time."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, 2)
        self.out = nn.Linear(WIDTH, VOCABULARY)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids)
        return self.out(x + self.attention(x, x, x, need_weights=False)[0])


class Convolutional(nn.Module):
    """Images through convolutions, group norm and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 4, 3, stride=2, padding=1),
            nn.GroupNorm(2, 4),
            nn.ReLU(inplace=True),
            nn.Conv2d(4, 4, 3, groups=2, bias=False),
            nn.Flatten(),
            nn.Linear(16, CLASSES),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class ClassToken(nn.Module):
    """A vision transformer in small: a class token and position table as raw parameters of the model."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Linear(4, WIDTH)
        self.token, self.position = nn.Parameter(torch.randn(1, 1, WIDTH)), nn.Parameter(torch.randn(5, WIDTH))
        self.layer = nn.TransformerEncoderLayer(WIDTH, 2, 16, dropout=0.0, batch_first=True)
        self.out = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1) + self.position
        return self.out(self.layer(x)[:, 0])


class Repeated(nn.Module):
    """One layer called several times, one never, one weight shared by two layers, one normalised by its direction."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.unused = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.twin = nn.Linear(WIDTH, WIDTH, bias=False)
        self.twin.weight = self.inner.weight
        self.directed = nn.utils.parametrizations.weight_norm(nn.Linear(WIDTH, WIDTH))
        self.out = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = torch.tanh(self.inner(x))
        return self.out(self.directed(self.twin(x)))


class NoisyGate(nn.Module):
    """A module without a rule that draws random numbers: a dropout inside, raw parameters around it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)
        self.gate, self.dropout = nn.Parameter(torch.randn(WIDTH)), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.dropout(torch.tanh(self.a(x))) * self.gate)


class RowsMixed(nn.Module):
    """Centres its activations over the batch, as a batch normalisation written by hand would."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        return self.out(x - x.mean(0, keepdim=True))


class Packed(nn.Module):
    """Packs the rows of a padded batch, whose lengths differ from batch to batch, for its recurrent layer."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.recurrent = nn.Embedding(VOCABULARY, WIDTH), nn.LSTM(WIDTH, WIDTH, batch_first=True)
        self.inner, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, ids: Tensor) -> Tensor:
        lengths = (ids != 0).sum(1).clamp(min=1)
        packed = nn.utils.rnn.pack_padded_sequence(self.tokens(ids), lengths, batch_first=True, enforce_sorted=False)
        packed = packed._replace(data=torch.tanh(self.inner(packed.data)))
        _, (last, _) = self.recurrent(packed)
        return self.out(last[-1])


class Reordering(nn.Module):
    """Shuffles the rows for its inner layers, in an order that no rule describes."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)
        self.order = [3, 0, 5, 1, 4, 2]

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.inner(x[self.order]))
        return self.out(x[torch.tensor(self.order).argsort()])


class Teacher(nn.Module):
    """Runs its layer twice, once without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            target = self.layer(x)
        return self.out(torch.tanh(self.layer(x)) - 0.5 * target)


class Checkpointed(nn.Module):
    """Recomputes its block in the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Linear(WIDTH, 12), nn.Tanh(), nn.Linear(12, WIDTH))
        self.first, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = checkpoint(self.block, self.first(x), use_reentrant=False)
        return self.out(x)


class Keyworded(nn.Module):
    """Takes a mapping of inputs, one of them as long as the batch without being rows."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(16, WIDTH)
        self.out = nn.Linear(WIDTH, CLASSES)

    def forward(self, ids: Tensor) -> Tensor:
        return self._inner({"ids": ids, "places": torch.arange(ids.shape[1])})

    def _inner(self, batch: dict) -> Tensor:
        return self.out(self.tokens(batch["ids"]) + self.places(batch["places"]))


class Stages(nn.Module):
    """Without a rule, and returns a tensor together with what it computed from it."""

    def __init__(self) -> None:
        super().__init__()
        self.shift, self.gate = nn.Parameter(torch.randn(WIDTH)), nn.Parameter(torch.randn(WIDTH))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        hidden = torch.tanh(x + self.shift)
        return {"out": hidden * self.gate, "hidden": hidden}


class TwoOutputs(nn.Module):
    """Uses both of what `Stages` returns."""

    def __init__(self) -> None:
        super().__init__()
        self.stages, self.out = Stages(), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        found = self.stages(x)
        return self.out(found["out"] + 0.3 * found["hidden"].square())


class PackedDocuments(nn.Module):
    """Documents back to back in one row, attending to themselves only; `structure` says how it knows them apart."""

    def __init__(self, structure: str, batched: bool = True) -> None:
        super().__init__()
        self.structure, self.batched = structure, batched
        self.tokens, self.positions = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(16, WIDTH)
        self.norm, self.qkv, self.mlp = nn.RMSNorm(WIDTH), nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.scale = nn.Parameter(torch.randn(WIDTH))
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, ids: Tensor, positions: Tensor, documents: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.tokens(ids) + self.positions(positions)
        x = x if self.batched else x.unsqueeze(0)
        if mask is None:
            mask = self._mask(ids.reshape(-1), positions.reshape(-1), documents.reshape(-1))
        for _ in range(2):
            q, k, v = self.qkv(self.norm(x)).chunk(3, dim=-1)
            x = x + functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            x = x + torch.tanh(self.mlp(x)) * self.scale
        logits = self.head(x)
        return logits if self.batched else logits[0]

    def _mask(self, ids: Tensor, positions: Tensor, documents: Tensor) -> Tensor:
        found = {"first tokens": (ids == 0).cumsum(0), "positions": (positions == 0).cumsum(0), "documents": documents}
        document = found.get(self.structure, torch.zeros_like(documents))
        return (document.unsqueeze(1) == document) & torch.ones(len(ids), len(ids), dtype=torch.bool).tril()
