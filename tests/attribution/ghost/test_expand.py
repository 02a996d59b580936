"""Embeddings looked up once for all rows: expanded where that is right, for each kind of batch on its own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel

from attribution import InRunShapley
from tests.attribution.ghost.metered import WHO, assert_equal, losses, metered_parts, parts_of, tokens
from tests.attribution.models import VOCABULARY, TiedLanguageModel
from tests.attribution.oracle import contributor_gradients

DOCUMENTS = [0, 1, 2, 0, 1, 2]  # two, of three tokens each


class Packing(nn.Module):
    """GPT-2 in small; the positions say where documents begin, of all rows alike or of the tokens of one."""

    def __init__(self) -> None:
        super().__init__()
        sizes = {"vocab_size": VOCABULARY, "n_positions": 16, "n_embd": 8, "n_layer": 1, "n_head": 2}
        self.model = GPT2LMHeadModel(GPT2Config(**sizes, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)).double()

    def forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        return self.model(input_ids=ids, position_ids=positions, use_cache=False).logits


def test_sequences_and_documents_packed_into_one_are_each_divided_in_their_own_way() -> None:
    model, loss_function = Packing(), losses(tokens(), "mean")
    sequences = [{"ids": tokens(6, 6), "positions": torch.arange(6).unsqueeze(0)} for _ in range(2)]
    packed = [{"ids": tokens(1, 6), "positions": torch.tensor([DOCUMENTS])} for _ in range(2)]
    of_tokens = torch.tensor([1, 1, 1, 3, 3, 3])
    batches, expected = [], []
    for rows_apart, tokens_apart in zip(sequences, packed, strict=True):
        for inputs, who, axis in ((rows_apart, WHO, 0), (tokens_apart, of_tokens, 1)):
            batches.append((inputs, who, loss_function))
            expected.append(contributor_gradients(model, inputs, loss_function, who, 4, axis))
    assert_equal(metered_parts(model, batches), {name: sum(part[name] for part in expected) for name in expected[0]})


@pytest.mark.parametrize("positions", ["embedding_1T", "embedding_T"])
def test_batches_of_any_number_of_rows_have_their_positions_expanded_to_it(positions: str) -> None:
    model, loss_function = TiedLanguageModel(positions), losses(tokens(), "mean")
    batches, expected = [], []
    for rows, time in [(6, 4), (1, 4), (2, 4), (4, 4), (6, 1), (6, 4), (2, 4)]:
        inputs, who = tokens(rows, time), WHO[:rows]
        batches.append((inputs, who, loss_function))
        expected.append(contributor_gradients(model, inputs, loss_function, who, 4))
    assert_equal(metered_parts(model, batches), {name: sum(part[name] for part in expected) for name in expected[0]})


class Classifying(nn.Module):
    """BERT in small, which computes its loss itself and so complains where there are not as many rows as labels."""

    def __init__(self) -> None:
        super().__init__()
        sizes = {"vocab_size": VOCABULARY, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
        rest = {"intermediate_size": 12, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        self.model = BertForSequenceClassification(BertConfig(**sizes, **rest, num_labels=3)).double()

    def forward(self, ids: Tensor, labels: Tensor) -> dict[str, Tensor]:
        found = self.model(input_ids=ids, labels=labels)
        return {"loss": found.loss, "logits": found.logits}


def test_bert_with_labels_is_divided_down_to_a_last_batch_of_one_row() -> None:
    model = Classifying()
    meter = InRunShapley(
        model, torch.optim.SGD(model.parameters(), lr=0.0), lambda m: m(tokens(), WHO % 3)["loss"], [*"abcd"]
    )
    for rows in (6, 4, 2, 1):
        inputs, labels, who = tokens(rows), torch.arange(rows) % 3, WHO[:rows]
        model.zero_grad()

        def loss_function(logits: Tensor, labels: Tensor = labels) -> Tensor:
            return nn.functional.cross_entropy(logits, labels)

        expected = contributor_gradients(Logits(model, labels), inputs, loss_function, who, 4)
        with meter.batch(who):
            model(inputs, labels)["loss"].backward()
        assert_equal(parts_of(meter), {name.removeprefix("model."): part for name, part in expected.items()})
    meter.close()


class Logits(nn.Module):
    """The same model as a function from tokens to logits."""

    def __init__(self, model: nn.Module, labels: Tensor) -> None:
        super().__init__()
        self.model, self.labels = model, labels

    def forward(self, ids: Tensor) -> Tensor:
        return self.model(ids, self.labels)["logits"]
