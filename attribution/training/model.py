"""The model to train: a GPT-2 shape given by size, or any local transformers checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
from transformers.utils import logging

from attribution.training.configuration import TrainingConfiguration
from attribution.training.errors import ModelError


def build_model(configuration: TrainingConfiguration, tokenizer: PreTrainedTokenizerFast) -> nn.Module:
    """The model in float32 and training mode; its initial weights are decided by torch's random state.

    Raises `ModelError` if a checkpoint cannot be loaded, or does not fit the tokenizer or the context.
    """
    if configuration.model is not None:
        return _load(configuration.model, configuration.context, len(tokenizer))
    layers, width, heads = configuration.shape
    end = tokenizer.eos_token_id
    shape = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=configuration.context,
        n_embd=width,
        n_layer=layers,
        n_head=heads,
        # One epoch over little text does not overfit, and dropout would only blur the values.
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=end,
        eos_token_id=end,
    )
    model: nn.Module = GPT2LMHeadModel(shape)
    return model.float().train()


@contextmanager
def no_bars() -> Iterator[None]:
    """Keeps transformers from drawing progress bars of its own over ours."""
    bars: Any = logging  # transformers does not type its switches
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()


def _load(path: Path, context: int, vocabulary: int) -> nn.Module:
    if not (path / "config.json").is_file():
        raise ModelError(f"{path}: is not a transformers checkpoint: it has no config.json")
    try:
        with no_bars():
            model: Any = AutoModelForCausalLM.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        raise ModelError(f"{path}: cannot be loaded as a causal language model: {error}") from error
    config = model.config.get_text_config()
    positions = getattr(config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions < context:
        raise ModelError(
            f"{path}: has {positions} positions, fewer than the context of {context}: choose a shorter one"
        )
    if config.vocab_size < vocabulary:
        raise ModelError(
            f"{path}: knows {config.vocab_size} tokens, the tokenizer {vocabulary}: "
            "leave the tokenizer out to use the checkpoint's own"
        )
    checkpoint: nn.Module = model.to(torch.float32)
    return checkpoint.train()
