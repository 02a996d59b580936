"""The trained tokenizer encodes everything, loses nothing, and is the same every time."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.training.errors import ModelError
from attribution.training.tokenizer import END_OF_TEXT, encode, load_tokenizer, train_tokenizer

TEXTS = [Path(json.__file__).read_text(), Path(os.__file__).read_text()]
TOKENIZER = train_tokenizer(TEXTS, 500)


@settings(max_examples=50, deadline=None)
@given(st.text())
def test_any_text_survives_the_round_trip(text: str) -> None:
    (ids,) = encode(TOKENIZER, [text])
    assert TOKENIZER.decode(ids, clean_up_tokenization_spaces=False) == text
    assert all(0 <= i < len(TOKENIZER) for i in ids)


def test_the_vocabulary_has_the_size_asked_for_and_merges_what_is_frequent() -> None:
    assert len(TOKENIZER) == 500
    (ids,) = encode(TOKENIZER, [TEXTS[1]])
    assert len(ids) < 0.6 * len(TEXTS[1])


def test_the_same_text_gives_the_same_tokenizer_in_another_process() -> None:
    program = (
        "import json, os, sys, hashlib; from pathlib import Path\n"
        "from attribution.training.tokenizer import train_tokenizer\n"
        "texts = [Path(json.__file__).read_text(), Path(os.__file__).read_text()]\n"
        "print(hashlib.sha256(train_tokenizer(iter(texts), 500).backend_tokenizer.to_str().encode()).hexdigest())"
    )
    there = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={**os.environ, "PYTHONHASHSEED": "7", "TOKENIZERS_PARALLELISM": "false"},
    ).stdout.strip()
    assert there == hashlib.sha256(TOKENIZER.backend_tokenizer.to_str().encode()).hexdigest()


def test_a_text_that_spells_the_end_of_text_does_not_end_there() -> None:
    (ids,) = encode(TOKENIZER, [f"before {END_OF_TEXT} after"])
    assert TOKENIZER.eos_token_id not in ids


@pytest.mark.parametrize("by", ["folder", "file"])
def test_a_saved_tokenizer_is_loaded_by_folder_or_file(by: str, tmp_path: Path) -> None:
    TOKENIZER.save_pretrained(tmp_path)
    loaded = load_tokenizer(tmp_path if by == "folder" else tmp_path / "tokenizer.json")
    assert encode(loaded, TEXTS) == encode(TOKENIZER, TEXTS)
    assert loaded.eos_token_id == TOKENIZER.eos_token_id


def test_what_is_no_tokenizer_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"tokenizer\.json: there is no such"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r"tokenizer\.json: is not a tokenizer"):
        load_tokenizer(tmp_path)
