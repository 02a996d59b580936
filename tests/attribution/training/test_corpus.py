"""Blocks belong to one contributor each, are drawn once an epoch, and weigh by the amount of data."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from attribution.training.corpus import Blocks, Corpus, LeakageWatch, objective, pack
from attribution.training.errors import LeakageError, TooLittleTextError
from attribution.training.sources import Source, TaskSource
from attribution.training.tokenizer import encode, train_tokenizer

TEXTS = [Path(json.__file__).read_text(), Path(os.__file__).read_text()]
TOKENIZER = train_tokenizer(TEXTS, 400)


def blocks(name: str, count: int, context: int = 8) -> Blocks:
    """Blocks that say whose they are: tokens count up from a thousand times the name."""
    tokens = np.arange(count * context, dtype=np.uint32).reshape(count, context) + 1000 * int(name)
    return Blocks(name, tokens, count, count * context, np.arange(count))


def test_packing_keeps_every_token_in_order_and_ends_each_record(tmp_path: Path) -> None:
    packed = pack("contributor", "alice", TEXTS, TOKENIZER, 16, tmp_path / "tokens")
    expected = [token for ids in encode(TOKENIZER, TEXTS) for token in [*ids, TOKENIZER.eos_token_id]]
    assert packed.token_count == len(expected)
    assert packed.records == 2
    assert isinstance(packed.tokens, np.memmap)
    assert packed.tokens.reshape(-1).tolist() == expected[: len(expected) // 16 * 16]


@pytest.mark.parametrize("context", [2, 16, 700])
def test_a_block_is_called_after_the_record_that_it_begins_in(context: int, tmp_path: Path) -> None:
    records = [*TEXTS, "a", "b", "", *TEXTS[:1], "c d e"]
    packed = pack("contributor", "alice", records, TOKENIZER, context, tmp_path / "tokens")
    owner = [record for record, ids in enumerate(encode(TOKENIZER, records)) for _ in range(len(ids) + 1)]
    assert packed.first_records.tolist() == owner[::context][: len(packed.tokens)]
    last = len(packed.tokens) - 1
    assert packed.sample(last) == f"alice/{owner[last * context]}/{last}"


def test_the_rows_of_a_batch_are_called_after_their_blocks() -> None:
    corpus = Corpus([blocks("1", 13), blocks("2", 40)])
    for batch in corpus.batches(rows=8, seed=3):
        numbers = (batch.tokens[:, 0].numpy() - 1000 * (batch.who.numpy() + 1)) // 8
        assert batch.samples == [f"{c + 1}/{n}/{n}" for c, n in zip(batch.who.tolist(), numbers, strict=True)]


def test_too_little_text_for_one_block_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(TooLittleTextError, match=r"contributor 'alice' has \d+ tokens, less than one block of 64"):
        pack("contributor", "alice", ["short"], TOKENIZER, 64, tmp_path / "tokens")


def test_every_block_is_drawn_once_an_epoch_and_credited_to_its_owner() -> None:
    corpus = Corpus([blocks("1", 13), blocks("2", 40), blocks("3", 1)])
    batches = list(corpus.batches(rows=8, seed=3))
    assert len(batches) == corpus.steps(8) == 7
    tokens = np.concatenate([batch.tokens.numpy() for batch in batches])
    who = np.concatenate([batch.who.numpy() for batch in batches])
    assert len(np.unique(tokens[:, 0])) == len(corpus) == 54
    assert (tokens[:, 0] // 1000 - 1 == who).all()
    assert np.bincount(who).tolist() == [13, 40, 1]


def test_rows_of_one_contributor_are_adjacent() -> None:
    corpus = Corpus([blocks("1", 30), blocks("2", 30)])
    assert all((np.diff(batch.who.numpy()) >= 0).all() for batch in corpus.batches(8, seed=0))


def test_contributors_are_drawn_throughout_in_proportion_to_their_data() -> None:
    corpus = Corpus([blocks("1", 300), blocks("2", 600)])
    counts = np.array([np.bincount(b.who.numpy(), minlength=2) for b in corpus.batches(9, seed=1)])
    for half in (counts[:50], counts[50:]):
        share = half[:, 0].sum() / half.sum()
        assert share == pytest.approx(1 / 3, abs=0.06)  # 3 standard errors of a draw of 450


def test_the_seed_and_the_epoch_decide_the_order() -> None:
    corpus = Corpus([blocks("1", 50), blocks("2", 50)])

    def order(seed: int, epochs: int = 1) -> list[int]:
        return [int(row[0]) for batch in corpus.batches(10, seed, epochs) for row in batch.tokens]

    assert order(0) == order(0)
    assert order(0) != order(1)
    first, second = order(0, epochs=2)[:100], order(0, epochs=2)[100:]
    assert first == order(0)
    assert first != second
    assert sorted(first) == sorted(second)


def test_an_objective_takes_blocks_from_all_over_the_task() -> None:
    task = objective(blocks("1", 100), rows=10, chunk_rows=4)
    assert [len(batch) for batch in task.batches] == [4, 4, 2]
    assert [int(row[0]) - 1000 for batch in task.batches for row in batch] == list(range(0, 800, 80))
    assert task.weights == pytest.approx([0.4, 0.4, 0.2])


def test_an_objective_with_fewer_blocks_than_asked_takes_all() -> None:
    assert sum(len(batch) for batch in objective(blocks("1", 3), rows=10, chunk_rows=4).batches) == 3


def test_copied_objective_records_are_counted_and_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "held").mkdir()
    (tmp_path / "held" / "1.txt").write_text("The secret article.  \nIts second line.\n")
    (tmp_path / "own.jsonl").write_text(
        json.dumps({"text": "His own."}) + "\n" + json.dumps({"text": "The secret article.\nIts second line."}) + "\n"
    )
    watch = LeakageWatch([TaskSource("news", (tmp_path / "held",), 1.0, "f")])
    honest = list(watch.watch(Source("alice", (tmp_path / "held",), ("a",))))
    assert len(honest) == 1
    assert list(watch.watch(Source("bob", (tmp_path / "own.jsonl",), ("b",)))) == [
        "His own.",
        "The secret article.\nIts second line.",
    ]
    assert watch.report() == {"alice": {"news": 1}, "bob": {"news": 1}}
    with pytest.raises(LeakageError, match=r"1 of task 'news' in the data of 'alice'; 1 .* 'bob'"):
        watch.refuse()


def test_text_that_is_not_held_out_is_no_leak(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "b.txt").write_text("two")
    watch = LeakageWatch([TaskSource("news", (tmp_path / "a.txt",), 1.0, "f")])
    list(watch.watch(Source("bob", (tmp_path / "b.txt",), ("b",))))
    watch.refuse()
    assert watch.report() == {}
