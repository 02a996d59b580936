"""Documents packed into one axis, a contributor for each token: divided if they are kept apart, refused if not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from attribution import InRunShapley
from attribution.errors import RowAxisError
from tests.attribution import models
from tests.attribution.ghost.metered import WHO, assert_equal, losses, metered_parts, parts_of, tokens
from tests.attribution.oracle import contributor_gradients, outputs_of

LENGTHS, OWNERS = [3, 5, 1, 4, 2], [2, 0, 0, 3, 2]  # one contributor twice, and apart; contributor 1 missing
TOKENS = sum(LENGTHS)
TOKEN_OWNERS = torch.tensor(OWNERS).repeat_interleave(torch.tensor(LENGTHS))


def packed(batched: bool = True, mask: str | None = None, lengths: list[int] = LENGTHS) -> dict[str, Tensor]:
    documents = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    positions = torch.cat([torch.arange(length) for length in lengths])
    ids = torch.randint(1, models.VOCABULARY, (sum(lengths),)).where(positions > 0, 0)
    found = {"ids": ids, "positions": positions, "documents": documents}
    if batched:
        found = {name: tensor.unsqueeze(0) for name, tensor in found.items()}
    if mask is not None:
        allowed = (documents.unsqueeze(1) == documents) & torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril()
        excluded = {"infinite": -torch.inf, "large": -1e9}
        found["mask"] = allowed if mask == "boolean" else torch.zeros(TOKENS, TOKENS).where(allowed, excluded[mask])
    return found


class Llama(nn.Module):
    """Llama in small, told of the documents by the positions that begin anew."""

    def __init__(self, attention: str) -> None:
        super().__init__()
        sizes = {"vocab_size": models.VOCABULARY, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2}
        heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "attn_implementation": attention}
        self.model = LlamaForCausalLM(LlamaConfig(**sizes, **heads)).double()

    def forward(self, ids: Tensor, positions: Tensor, documents: Tensor) -> Tensor:
        return self.model(input_ids=ids, position_ids=positions, use_cache=False).logits


MASKS = ("boolean", "infinite", "large")

CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], dict[str, Tensor]], int]] = {
    f"{structure}, {'batch of one' if batched else 'no batch axis'}": (
        lambda structure=structure, batched=batched: models.PackedDocuments(structure, batched),
        lambda structure=structure, batched=batched: packed(batched, structure if structure in MASKS else None),
        int(batched),
    )
    for structure in ("documents", "positions", "first tokens", *MASKS)
    for batched in (True, False)
} | {
    f"Llama, {attention}": (lambda attention=attention: Llama(attention), packed, 1) for attention in ("eager", "sdpa")
}


@pytest.mark.usefixtures("replacing")
@pytest.mark.parametrize("case", CASES)
def test_packed_documents_are_divided_among_the_contributors_of_their_tokens(case: str) -> None:
    build, draw, axis = CASES[case]
    model, first, second = build(), draw(), draw()
    loss_function = losses(first, "weighted")
    expected = contributor_gradients(model, first, loss_function, TOKEN_OWNERS, 4, axis)
    more = contributor_gradients(model, second, loss_function, TOKEN_OWNERS, 4, axis)
    batches = [(first, TOKEN_OWNERS, loss_function), (second, TOKEN_OWNERS, loss_function)]
    assert_equal(metered_parts(model, batches), {name: expected[name] + more[name] for name in expected})


def test_other_documents_in_a_batch_of_the_same_length_are_proved_anew() -> None:
    model = models.PackedDocuments("documents")
    loss_function = losses(packed()["ids"], "mean")
    lengths = ([4, 4, 4, 3], [7, 1, 7], [15])
    owners = ([0, 1, 2, 3], [1, 0, 1], [3])
    batches, expected = [], []
    for of_documents, whose in zip(lengths, owners, strict=True):
        inputs, who = packed(lengths=of_documents), torch.tensor(whose).repeat_interleave(torch.tensor(of_documents))
        batches.append((inputs, who, loss_function))
        expected.append(contributor_gradients(model, inputs, loss_function, who, 4, axis=1))
    assert_equal(metered_parts(model, batches), {name: sum(part[name] for part in expected) for name in expected[0]})


def test_documents_of_different_contributors_that_attend_to_one_another_are_refused() -> None:
    model, inputs = models.PackedDocuments("causal only"), packed()
    with pytest.raises(RowAxisError, match="mask"):
        metered_parts(model, [(inputs, TOKEN_OWNERS, losses(inputs["ids"], "mean"))])


@pytest.mark.usefixtures("replacing")
def test_a_wrong_mask_is_refused_after_right_ones_too() -> None:
    model, inputs = models.PackedDocuments("documents"), packed()
    loss_function = losses(inputs["ids"], "mean")
    meter = InRunShapley(model, torch.optim.SGD(model.parameters()), lambda m: outputs_of(m, inputs).mean(), [*"abcd"])
    with meter.batch(TOKEN_OWNERS):
        loss_function(outputs_of(model, inputs)).backward()
    model.zero_grad()
    leaking = packed(lengths=[8, 7])  # the second document begins among the tokens of another contributor's
    with pytest.raises(RowAxisError), meter.batch(TOKEN_OWNERS):
        loss_function(outputs_of(model, leaking)).backward()
    meter.close()


def test_one_contributor_s_documents_may_attend_to_one_another() -> None:
    model, inputs, who = models.PackedDocuments("causal only"), packed(), torch.full((TOKENS,), 2)
    loss_function = losses(inputs["ids"], "mean")
    expected = contributor_gradients(model, inputs, loss_function, who, 4, axis=1)
    assert_equal(metered_parts(model, [(inputs, who, loss_function)]), expected)


def test_tokens_that_mix_with_none_are_proved_once_for_all_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = nn.Sequential(nn.Embedding(11, 8), nn.Linear(8, 11)), packed()["ids"]
    loss_function = losses(inputs, "mean")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    meter = InRunShapley(model, optimizer, lambda m: m(inputs).square().mean(), [*"abcd"])
    with meter.batch(TOKEN_OWNERS):
        loss_function(model(inputs)).backward()
    monkeypatch.setattr("attribution.ghost.proofs.Proofs.prove", None)
    with meter.batch(TOKEN_OWNERS):
        loss_function(model(inputs)).backward()
    expected = contributor_gradients(model, inputs, loss_function, TOKEN_OWNERS, 4, axis=1)
    assert_equal(parts_of(meter), {name: 2 * part for name, part in expected.items()})
    meter.close()


@pytest.mark.usefixtures("replacing")
def test_rows_packed_by_lengths_that_depend_on_the_data_are_divided_by_contributor() -> None:
    model, batches, expected = models.Packed(), [], []
    for _ in range(2):
        inputs = tokens(6, 5) * (torch.arange(5) < torch.randint(1, 6, (6, 1)))
        batches.append((inputs, WHO, losses(inputs, "mean")))
        expected.append(contributor_gradients(model, *batches[-1][::2], WHO, 4))
    assert_equal(metered_parts(model, batches), {name: expected[0][name] + expected[1][name] for name in expected[0]})
