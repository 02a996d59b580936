"""The tokenizer: a byte-level BPE trained on the pooled text, or one given by path."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from attribution.training.errors import ModelError

END_OF_TEXT = "<|endoftext|>"
_KNOWN_ENDS = (END_OF_TEXT, "</s>", "<|end_of_text|>", "<eos>")
TOKENIZER_FILE = "tokenizer.json"

_FAST: Any = PreTrainedTokenizerFast  # transformers does not type its constructors


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE of at most `vocabulary` tokens on a stream of texts; the same texts give the same one.

    Every text can be encoded, since all 256 bytes are tokens. Source: Sennrich et al. 2016; Radford et al. 2019.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT],
        # Sorted, because the alphabet comes in no fixed order and ties between merges go by token number.
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    trained: PreTrainedTokenizerFast = _FAST(tokenizer_object=tokenizer, eos_token=END_OF_TEXT, bos_token=END_OF_TEXT)
    return trained


def load_tokenizer(path: Path) -> PreTrainedTokenizerFast:
    """Load a ``tokenizer.json``, or the one in a folder.

    Raises `ModelError` if there is none, it cannot be read, or it has no end-of-text token.
    """
    file = path / TOKENIZER_FILE if path.is_dir() else path
    if not file.is_file():
        raise ModelError(f"{file}: there is no such tokenizer file")
    try:
        if path.is_dir() and (path / "tokenizer_config.json").is_file():
            tokenizer: PreTrainedTokenizerFast = _FAST.from_pretrained(path, local_files_only=True)
        else:
            tokenizer = _FAST(tokenizer_file=str(file))
    except Exception as error:
        raise ModelError(f"{file}: is not a tokenizer that the tokenizers library reads: {error}") from error
    if tokenizer.eos_token_id is None:
        known = tokenizer.get_vocab()
        end = next((token for token in _KNOWN_ENDS if token in known), None)
        if end is None:
            raise ModelError(f"{file}: has no end-of-text token, none of {', '.join(_KNOWN_ENDS)} either")
        tokenizer.eos_token = end
    return tokenizer


def encode(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> list[list[int]]:
    """Token ids of texts, nothing added. A special token spelled out in a text is read as plain text."""
    backend = tokenizer.backend_tokenizer
    backend.encode_special_tokens = True
    return [encoding.ids for encoding in backend.encode_batch_fast(texts, add_special_tokens=False)]
