"""Tracing: the scores against a backward pass for each sample, and whether copies are found."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import GPT2Config, GPT2LMHeadModel

from attribution.errors import UnscoredRowsError
from attribution.record import RunRecord
from attribution.training import Source, TaskSource, TrainingConfiguration, train
from attribution.training.model import build_model
from attribution.training.tokenizer import encode, load_tokenizer
from attribution.uses.errors import MissingFromRunError, QueryError, UseError
from attribution.uses.preconditioner import PRECONDITIONERS, fitted
from attribution.uses.samples import pieces_of, samples_of
from attribution.uses.scoring import NORMALISATIONS, Measure
from attribution.uses.trace import royalty_shares, trace
from attribution.uses.tracer import Tracer

WORDS = [
    a + b + c for a in ("ba", "ko", "mi", "tu") for b in ("ra", "len", "so", "dir") for c in ("n", "ta", "vo", "k")
]


class Scaled(nn.Module):
    """A module that no rule knows."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(8))

    def forward(self, rows: Tensor) -> Tensor:
        return torch.sin(rows * self.scale)


def language_model() -> nn.Module:
    shape = GPT2Config(vocab_size=40, n_positions=12, n_embd=16, n_layer=2, n_head=2)
    shape.resid_pdrop = shape.embd_pdrop = shape.attn_pdrop = 0.1  # which tracing switches off
    return GPT2LMHeadModel(shape)


def perceptron() -> nn.Module:
    return nn.Sequential(
        nn.Embedding(40, 8), nn.Linear(8, 8), Scaled(), nn.LayerNorm(8), nn.Flatten(), nn.Linear(96, 3)
    )


def next_tokens(model: nn.Module, rows: Tensor) -> Tensor:
    logits = model(input_ids=rows, use_cache=False).logits[:, :-1]
    return F.cross_entropy(logits.transpose(1, 2), rows[:, 1:], reduction="none").mean(1).sum()


def squares(model: nn.Module, rows: Tensor) -> Tensor:
    return ((model(rows) - rows[:, :3] / 40) ** 2).sum()


MODELS: list[tuple[Callable[[], nn.Module], Callable[[nn.Module, Tensor], Tensor]]] = [
    (language_model, next_tokens),  # tied weights, and position embeddings without rows
    (perceptron, squares),
]


@pytest.mark.parametrize(("make", "loss"), MODELS)
def test_scores_are_dot_products_of_the_gradients_of_each_sample_alone(
    make: Callable[[], nn.Module], loss: Callable[[nn.Module, Tensor], Tensor]
) -> None:
    torch.manual_seed(3)
    model = make().double().train()
    with torch.no_grad():
        for parameter in model.parameters():  # far from where they began
            parameter.add_(0.3 * torch.randn_like(parameter))
    rows, queries = torch.randint(40, (9, 12)), torch.randint(40, (2, 12))
    own = torch.ones_like(next(model.parameters()))
    next(model.parameters()).grad = own
    state = torch.get_rng_state()
    with Tracer(model, loss) as tracer:
        directions = torch.stack([tracer.gradient([query]) for query in queries])
        found = torch.from_numpy(tracer.scores(rows, directions))
        again = torch.from_numpy(tracer.scores(rows[:4], directions))
    assert model.training
    assert next(model.parameters()).grad is own
    assert torch.equal(torch.get_rng_state(), state)
    model.eval()

    def alone(row: Tensor) -> Tensor:
        gradients = torch.autograd.grad(loss(model, row.unsqueeze(0)), list(model.parameters()))
        return torch.cat([gradient.reshape(-1) for gradient in gradients])

    expected = torch.stack([alone(row) for row in rows]) @ torch.stack([alone(query) for query in queries]).T
    scale = expected.abs().max()
    assert scale > 1e-3
    assert (found - expected).abs().max() < 1e-9 * scale
    assert (again - expected[:4]).abs().max() < 1e-9 * scale


def test_a_loss_with_a_penalty_of_its_own_on_the_weights_is_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1)).double()

    def penalised(model: nn.Module, rows: Tensor) -> Tensor:
        return model(rows).sum() + sum(parameter.square().sum() for parameter in model.parameters())

    with Tracer(model, penalised) as tracer, pytest.raises(Exception, match=r"parameter|rows") as raised:
        tracer.scores(torch.randn(5, 4, dtype=torch.float64), tracer._space.zeros(1) + 1)
    assert type(raised.value).__module__ == UnscoredRowsError.__module__


Run = tuple[list[Source], Path, RunRecord, list[str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on 300 sentences of random words by three contributors, and the sentences."""
    folder, draw = tmp_path_factory.mktemp("trace"), random.Random(5)
    texts = [" ".join(draw.choices(WORDS, k=14)) for _ in range(330)]
    sources = []
    for number, name in enumerate(("ann", "bob", "cid")):
        file = folder / f"{name}.jsonl"
        file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[100 * number : 100 * number + 100]))
        sources.append(Source(name, (file,), (name,)))
    (folder / "held.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[300:]))
    configuration = TrainingConfiguration(
        layers=1,
        width=32,
        heads=2,
        vocabulary=330,
        context=16,
        batch_rows=16,
        learning_rate=5e-3,
        validation_rows=4,
        threads=1,
        max_steps=40,
    )
    tasks = [TaskSource("words", (folder / "held.jsonl",), 1.0, "t")]
    return sources, folder / "run", train(sources, tasks, configuration, folder / "run"), texts


@pytest.mark.parametrize("number", [7, 133, 268])
def test_a_verbatim_copy_ranks_first_among_hundreds(run: Run, number: int) -> None:
    sources, folder, record, texts = run
    done: list[int] = []
    found = trace(record, folder, sources, texts[number], show=3, advance=done.append)
    assert sum(done) == sum(found.samples.values()) > 300
    first = found.top[0]
    owner = sources[number // 100]
    assert (first.contributor, first.dataset, first.record) == (owner.contributor, owner.fingerprint, number % 100)
    assert texts[number].startswith(first.text) or texts[number].endswith(first.text)
    assert first.score > found.top[1].score > found.top[2].score
    assert found.bottom[0].score < found.bottom[1].score < found.top[2].score


@pytest.mark.parametrize("normalise", NORMALISATIONS)
@pytest.mark.parametrize("preconditioner", PRECONDITIONERS)
def test_every_measure_is_the_product_that_it_says_and_finds_the_copy(
    run: Run, preconditioner: str, normalise: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each sample's gradient alone, times the preconditioned query's, over its tokens or its own length."""
    (_, *sources, _), folder, record, texts = run  # bob's, which is enough
    monkeypatch.setattr("attribution.uses.scoring.FITTED_ON", 1000)  # all of them, so that chance decides nothing
    found = trace(record, folder, sources, texts[133], measure=Measure(preconditioner, normalise), show=1000)
    if normalise != "tokens":  # of mean losses, records' last pieces of a token or two come first
        assert (found.top[0].contributor, found.top[0].record) == ("bob", 33)
    tokenizer = load_tokenizer(folder / "model")
    samples = list(samples_of(sources, tokenizer, 16))
    assert len(found.top) == len(samples)
    model = build_model(TrainingConfiguration(model=folder / "model", context=16), tokenizer).eval()
    rows = [torch.tensor(sample.tokens) for sample in samples]
    with Tracer(model) as tracer:
        each = torch.stack([tracer.gradient([row]) for row in rows])
        precondition = fitted(preconditioner, tracer, rows)
        query = [torch.tensor(piece) for piece in pieces_of(encode(tokenizer, [texts[133]])[0], 16)]
        direction = tracer.gradient(query, 1 / sum(len(piece) - 1 for piece in query))
    scores = each @ precondition(direction)
    if normalise == "tokens":
        scores /= torch.tensor([len(row) - 1 for row in rows])
    elif normalise == "gradient":
        scores /= (each * precondition(each)).sum(1).sqrt()
    by_place = {(one.contributor, one.record, one.piece): one.score for one in found.top}
    ours = torch.tensor([by_place[one.contributor, one.record, one.piece] for one in samples], dtype=torch.float64)
    torch.testing.assert_close(ours, scores.double(), rtol=1e-3, atol=1e-4 * float(scores.abs().max()))


def test_what_is_no_measure_is_refused() -> None:
    for wrong in ({"preconditioner": "shampoo"}, {"normalise": "twice"}):
        with pytest.raises(UseError, match="one of"):
            Measure(**wrong)


def test_padding_and_the_batch_change_no_score(run: Run) -> None:
    _, folder, _, texts = run
    tokenizer = load_tokenizer(folder / "model")
    model = build_model(TrainingConfiguration(model=folder / "model", context=16), tokenizer).double()
    rows = [torch.tensor(ids[:length]) for ids, length in zip(encode(tokenizer, texts), (2, 7, 16, 5), strict=False)]
    with Tracer(model) as tracer:
        direction = tracer.gradient([rows[2]]).unsqueeze(0)
        padded = pad_sequence(rows, batch_first=True, padding_value=-1)
        together = tracer.scores(padded, direction)
        alone = [tracer.scores(row.unsqueeze(0), direction)[0, 0] for row in rows]
    assert together[:, 0] == pytest.approx(alone, rel=1e-5)  # the loss is float32's


def test_shares_are_the_totals_above_nothing_and_sum_to_one_exactly(run: Run) -> None:
    sources, folder, record, texts = run
    found = trace(record, folder, sources, texts[133], show=1000)
    totals = dict.fromkeys(record.contributors, 0.0)
    for sample in found.top:
        totals[sample.contributor] += sample.score
    assert found.totals == pytest.approx(totals, rel=1e-6)
    assert sum(found.shares.values()) == 1
    for name, share in found.shares.items():
        assert (share > 0) == (totals[name] > 0)


@given(st.dictionaries(st.text(max_size=3), st.floats(-1e300, 1e300), max_size=6))
def test_royalty_shares_sum_to_one_and_nobody_below_nothing_has_one(totals: dict[str, float]) -> None:
    shares = royalty_shares(totals)
    if not any(total > 0 for total in totals.values()):
        assert shares == {}
        return
    assert sum(shares.values()) == Fraction(1)
    for name, total in totals.items():
        assert (shares[name] > 0) == (total > 0)


def test_what_cannot_be_traced_is_refused(run: Run, tmp_path: Path) -> None:
    sources, folder, record, _ = run
    with pytest.raises(QueryError, match="two tokens"):
        trace(record, folder, sources, "")
    with pytest.raises(MissingFromRunError, match="model"):
        trace(record, tmp_path, sources, "some text")
    with pytest.raises(UseError, match="no data"):
        trace(record, folder, [], "some text")
