"""Adapters of peft: divided as everything else is, while the frozen base beneath them costs nothing."""

from __future__ import annotations

from collections.abc import Callable

import peft
import pytest
import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from attribution import InRunShapley
from tests.attribution.ghost.metered import ROWS, WHO, assert_equal, losses, metered_parts, tokens
from tests.attribution.models import VOCABULARY
from tests.attribution.oracle import contributor_gradients


class Logits(nn.Module):
    """A language model of transformers as a function from tokens to logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        return self.model(input_ids=ids, use_cache=False).logits


def llama(config: peft.PeftConfig) -> nn.Module:
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2}
    base = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2, num_key_value_heads=1))
    return Logits(peft.get_peft_model(base, config).double())


def gpt2(config: peft.PeftConfig) -> nn.Module:
    sizes = {"vocab_size": VOCABULARY, "n_positions": 16, "n_embd": 8, "n_layer": 2, "n_head": 2}
    base = GPT2LMHeadModel(GPT2Config(**sizes, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0))
    return Logits(peft.get_peft_model(base, config).double())


def convolutional(config: peft.PeftConfig) -> nn.Module:
    base = nn.Sequential(nn.Conv2d(4, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(6 * 4 * 5, 3))
    return peft.get_peft_model(base, config).double()


def images() -> Tensor:
    return torch.randn(ROWS, 4, 6, 7)


def lora(*modules: str, **options: object) -> peft.LoraConfig:
    return peft.LoraConfig(r=2, target_modules=list(modules), init_lora_weights=False, **options)


ATTENTION = ("q_proj", "v_proj")
CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "LoRA": (lambda: llama(lora(*ATTENTION, "down_proj")), tokens),
    "LoRA with dropout": (lambda: llama(lora(*ATTENTION, lora_dropout=0.3)), tokens),
    "DoRA": (lambda: llama(lora(*ATTENTION, use_dora=True)), tokens),
    "LoRA and a head of its own": (lambda: llama(lora(*ATTENTION, modules_to_save=["lm_head"])), tokens),
    "LoRA of embeddings": (lambda: llama(lora("embed_tokens")), tokens),
    "LoRA of Conv1D, with biases": (lambda: gpt2(lora("c_attn", fan_in_fan_out=True, bias="all")), tokens),
    "LoRA of convolutions": (lambda: convolutional(lora("0", "3")), images),
    "IA3": (
        lambda: llama(peft.IA3Config(target_modules=["v_proj", "down_proj"], feedforward_modules=["down_proj"])),
        tokens,
    ),
    "prefixes": (
        lambda: llama(peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)),
        tokens,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_an_adapter_is_divided_as_a_backward_pass_per_contributor_divides_it(case: str) -> None:
    build, draw = CASES[case]
    model, inputs, loss_function = build(), draw(), losses(images(), "weighted")
    state = torch.get_rng_state()
    expected = contributor_gradients(model, inputs, loss_function, WHO, 4)
    torch.set_rng_state(state)
    assert_equal(metered_parts(model, [(inputs, WHO, loss_function)]), expected)


def test_the_frozen_base_has_no_buffers_and_is_not_watched() -> None:
    model, inputs = llama(lora(*ATTENTION)), tokens()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained)
    meter = InRunShapley(model, optimizer, lambda m: m(inputs).square().mean(), [*"abcd"])
    with meter.batch(WHO):
        model(inputs).square().mean().backward()
    assert meter._space.size == sum(parameter.numel() for parameter in trained)
    watched = [name for name, module in model.named_modules() if module in meter._capture._providers]
    assert watched
    assert all("lora" in name for name in watched)
    optimizer.step()
    assert abs(meter.finish().values).max() > 0
