"""Values by retraining: what hand enumeration gives, whatever was cached, cut short or done in parallel."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest

from attribution import RunRecord, exact_retraining
from attribution.errors import OptionError, RecordError
from attribution.exact import shapley
from attribution.retraining import RetrainingError, RetrainingValues
from tests.attribution.trainings import SHARES, additive, dying, failing, interacting, pair_game, saturating


class Counting:
    """Counts trainings, and gives up after some."""

    def __init__(self, train, most=None):
        self.train, self.most, self.seen = train, most, []

    def __call__(self, coalition, seed):
        if self.most is not None and len(self.seen) == self.most:
            raise KeyboardInterrupt
        self.seen.append((tuple(coalition), seed))
        return self.train(coalition, seed)


def test_in_an_additive_game_everybody_has_what_they_bring_and_no_seed_matters() -> None:
    found = exact_retraining(additive, list(SHARES), seeds=(0, 5))
    assert found.values == pytest.approx(np.array([[0.5], [0.25], [0.125]]))
    assert found.standard_errors.max() == found.seed_spreads.max() == 0
    assert found.improvement == pytest.approx(0.875)
    assert (found.tasks, found.retrainings) == (["objective"], 16)


def test_together_or_not_at_all_is_shared_alike_and_who_adds_nothing_gets_nothing() -> None:
    found = exact_retraining(interacting, ["ann", "bob", "cid"], seeds=(0, 1, 2))
    assert found.tasks == ["first", "second"]
    assert found.values == pytest.approx(np.array([[0.55, 0.2], [0.55, 0.0], [0.0, 0.0]]), abs=1e-12)
    assert found.seed_spreads == pytest.approx(np.array([[0.05, 0.0], [0.05, 0.0], [0.0, 0.0]]), abs=1e-12)


def test_all_coalitions_agree_with_enumeration_by_hand() -> None:
    names = [str(i) for i in range(5)]
    found = exact_retraining(partial(pair_game, size=0), names, seeds=(3, 4))

    def utility(mask):
        members = [name for name, inside in zip(names, mask, strict=True) if inside]
        return -np.mean([pair_game(members, seed, size=0) for seed in (3, 4)])

    assert found.values[:, 0] == pytest.approx(shapley(utility, 5), rel=1e-9)
    assert len(found.utilities) == 32
    assert found.values.sum() == pytest.approx(found.improvement[0], rel=1e-9)


def test_one_seed_tells_nothing_of_luck() -> None:
    assert np.isnan(exact_retraining(additive, list(SHARES), seeds=[1]).seed_spreads).all()


def test_sampled_orders_come_near_and_their_errors_tell_how_near() -> None:
    names = [str(i) for i in range(6)]
    train = partial(pair_game, size=0)
    exact = exact_retraining(train, names, seeds=(0,))
    sampled = exact_retraining(train, names, seeds=(0,), method="permutations", permutations=200)
    assert (np.abs(sampled.values - exact.values) < 4 * sampled.standard_errors).all()
    assert sampled.values.sum() == pytest.approx(exact.improvement[0], rel=1e-9)
    assert exact.standard_errors.max() == 0 < sampled.standard_errors.min()


def test_more_than_twelve_contributors_are_sampled() -> None:
    names = [str(i) for i in range(13)]
    found = exact_retraining(saturating, names, permutations=4, seeds=(0,))
    assert found.orders is not None
    assert found.values.sum() == pytest.approx(found.improvement[0])


def test_truncation_trains_less_and_reports_what_it_kept() -> None:
    names = [str(i) for i in range(8)]
    options = {"method": "permutations", "permutations": 4, "seeds": (0, 1)}
    whole, short = (exact_retraining(saturating, names, truncation=part, **options) for part in (0.0, 0.05))
    assert short.retrainings < whole.retrainings
    assert short.bias == pytest.approx(0.007)
    assert whole.bias == pytest.approx(0, abs=1e-12)
    assert short.values.sum() + short.bias[0] == pytest.approx(short.improvement[0])
    record = short.as_record()
    assert record.gap == pytest.approx(short.bias)
    assert (record.standard_errors == short.standard_errors).all()


def test_truncation_looks_at_the_mean_over_seeds_and_not_at_one_seeds_luck() -> None:
    def lucky(coalition, seed):  # whoever is first has all of it, but for noise that the seeds cancel
        noise = (-1) ** seed * 0.2 * (0 < len(coalition) < 5)
        return 1.0 - (len(coalition) > 0) + noise

    found = exact_retraining(lucky, list("abcde"), method="permutations", permutations=4, truncation=0.05, seeds=(0, 1))
    assert {int(mask.sum()) for mask in found.coalitions} == {0, 1, 5}


def test_an_interrupted_evaluation_goes_on_where_it_was(tmp_path) -> None:
    cache, names = tmp_path / "deep" / "cache.jsonl", list(SHARES)
    first = Counting(additive, most=5)
    with pytest.raises(KeyboardInterrupt):
        exact_retraining(first, names, cache=cache, seeds=(0, 1))
    with cache.open("a") as torn:
        torn.write('{"tag": "", "seed": 1, "coal')  # killed in the middle of a line
    second = Counting(additive)
    resumed = exact_retraining(second, names[::-1], cache=cache, seeds=(0, 1))
    assert len(first.seen) + len(second.seen) == 16
    assert not {(frozenset(c), s) for c, s in first.seen} & {(frozenset(c), s) for c, s in second.seen}
    assert resumed.values[::-1] == pytest.approx(exact_retraining(additive, names, seeds=(0, 1)).values, rel=1e-12)
    third = Counting(additive)
    exact_retraining(third, names, cache=cache, seeds=(0, 1))
    assert third.seen == []
    assert len(cache.read_text().splitlines()) == 16


def test_another_tag_is_another_training(tmp_path) -> None:
    cache = tmp_path / "cache.jsonl"
    exact_retraining(additive, ["ann", "bob"], cache=cache, seeds=(0,), tag="SGD")
    other = Counting(additive)
    exact_retraining(other, ["ann", "bob"], cache=cache, seeds=(0,), tag="AdamW")
    assert len(other.seen) == 4


@pytest.mark.parametrize("options", [{"seeds": (0, 1)}, {"method": "permutations", "permutations": 4, "seeds": (0,)}])
def test_two_processes_find_what_one_finds(tmp_path, options) -> None:
    names = [str(i) for i in range(4)]
    train = partial(pair_game, size=1)
    alone = exact_retraining(train, names, **options)
    together = exact_retraining(train, names, workers=2, cache=tmp_path / "cache", **options)
    assert (alone.values == together.values).all()
    assert (alone.coalitions == together.coalitions).all()


def test_progress_counts_every_training_and_what_was_cached(tmp_path) -> None:
    told = []
    for _ in range(2):
        exact_retraining(
            additive, list(SHARES), seeds=(0,), cache=tmp_path / "c", progress=lambda *counts: told.append(counts)
        )
    assert told == [(done, 8) for done in range(1, 9)] * 2


def test_what_is_saved_comes_back_whole(tmp_path) -> None:
    found = exact_retraining(
        interacting, ["ann", "bob", "cid"], seeds=(0, 1), method="permutations", permutations=4, tag="t"
    )
    path = found.save(tmp_path / "evaluation.json")
    found.save(path)
    loaded = RetrainingValues.load(path)
    assert (loaded.values == found.values).all()
    assert (loaded.standard_errors == found.standard_errors).all()
    assert loaded.as_record().identity == found.as_record().identity
    with pytest.raises(RetrainingError, match="choose another file"):
        exact_retraining(additive, list(SHARES), seeds=(0,)).save(path)


def changed(stored, key, value):
    return json.dumps({**stored, key: value})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: changed(s, "values", [[9.0], [0.0], [0.0]]), "do not follow from its losses"),
        (lambda s: changed(s, "losses", s["losses"][1:]), "do not fit"),
        (lambda s: changed(s, "coalitions", [[0]] * 8), "nobody's data is missing"),
        (lambda s: changed(s, "format", "another/1"), "is not 'ghostledger-retraining/1'"),
        (lambda s: changed(s, "coalitions", [[7]] * 8), "not a saved evaluation"),
        (lambda s: "[]", "not a saved evaluation"),
        (lambda s: "{", "not a saved evaluation"),
        (lambda s: None, "cannot be read"),
    ],
)
def test_a_file_that_was_changed_is_refused_in_one_line(tmp_path, change, said) -> None:
    path = exact_retraining(additive, list(SHARES), seeds=(0,)).save(tmp_path / "evaluation.json")
    content = change(json.loads(path.read_text()))
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(RetrainingError, match=said) as caught:
        RetrainingValues.load(path)
    assert "\n" not in str(caught.value)


def test_as_a_record_it_balances_and_can_be_saved(tmp_path) -> None:
    found = exact_retraining(interacting, ["ann", "bob", "cid"], seeds=(0, 1))
    record = found.as_record(task_weights={"first": 0.25, "second": 0.75}, rows={"ann": 12}, details={"note": "court"})
    again = RunRecord.load(record.save(tmp_path / "record"))
    assert again.values == pytest.approx(found.values)
    assert again.improvement == pytest.approx(found.improvement)
    assert again.gap == pytest.approx(0, abs=1e-15)
    assert again.house.tolist() == [0, 0]
    assert again.weights.tolist() == [0.25, 0.75]
    assert again.rows.tolist() == [12, 1, 1]
    assert again.standard_errors is None
    assert again.details["note"] == "court"
    assert again.details["method"]["name"] == "retraining"
    assert again.details["method"]["retrainings"] == 16
    assert again.details["method"]["evidence"] == found.as_record().details["method"]["evidence"]


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"task_weights": {"third": 1.0}}, OptionError, "task_weights names 'third'"),
        ({"rows": {"eve": 3}}, OptionError, "rows names 'eve'"),
        ({"task_weights": {"first": 0.5}}, RecordError, "sum to 1"),
        ({"details": {"totals": 1}}, RecordError, "details must not hold"),
    ],
)
def test_a_record_of_other_names_is_refused(options, error, said) -> None:
    found = exact_retraining(interacting, ["ann", "bob"], seeds=(0,))
    with pytest.raises(error, match=said):
        found.as_record(**options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"contributors": []}, "at least one name"),
        ({"contributors": ["ann", "ann"]}, "each once"),
        ({"method": "guess"}, "not one of auto, all, permutations"),
        ({"method": "permutations", "permutations": 3}, "even number"),
        ({"method": "permutations", "truncation": 2.0}, "truncation"),
        ({"method": "all", "truncation": 0.1}, "goes with method 'permutations'"),
        ({"contributors": [str(i) for i in range(13)], "method": "all"}, "1 to 12 players, not 13"),
        ({"seeds": ()}, "at least one"),
        ({"seeds": (1, 1)}, "each once"),
        ({"seeds": (-1,)}, "from 0"),
        ({"workers": 0}, "at least 1, not 0"),
        ({"train": lambda coalition, seed: 0.0, "workers": 2}, "top level of a module"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_any_training(options, said) -> None:
    counting = Counting(additive)
    with pytest.raises(OptionError, match=said) as caught:
        exact_retraining(**{"train": counting, "contributors": list(SHARES), **options})
    assert counting.seen == []
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("train", "said"),
    [
        (lambda c, s: float("nan") if len(c) == 2 else 1.0, r"ann \+ bob with seed 0 gave the loss nan"),
        (lambda c, s: "much", "nobody's data with seed 0 gave no number as a loss"),
        (lambda c, s: {"a" if c else "b": 1.0}, r"tasks \['a'\] where others gave \['b'\]"),
        (lambda c, s: {}, "tasks"),
    ],
)
def test_a_training_without_a_usable_loss_is_named(train, said) -> None:
    with pytest.raises(RetrainingError, match=said) as caught:
        exact_retraining(train, ["ann", "bob", "cid"], seeds=(0,))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_training_raises_comes_through_with_a_note_of_the_coalition(workers) -> None:
    with pytest.raises(ValueError, match="out of data") as caught:
        exact_retraining(failing, ["ann", "bob"], seeds=(7,), workers=workers)
    assert "while retraining on ann + bob with seed 7" in caught.value.__notes__[0]


def test_a_worker_that_dies_is_one_error() -> None:
    with pytest.raises(RetrainingError, match="ended without an answer"):
        exact_retraining(dying, ["ann"], seeds=(0,), workers=2)


@pytest.mark.parametrize(
    "line", ['{"tag": ""}', "nonsense", "[]", '{"tag": "", "seed": 0, "coalition": 3, "losses": {}}']
)
def test_a_cache_that_is_none_is_named_with_the_line(tmp_path, line) -> None:
    cache = tmp_path / "cache.jsonl"
    exact_retraining(additive, ["ann"], seeds=(0,), cache=cache)
    with cache.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(RetrainingError, match=r"cache.jsonl, line 3: is not a retraining's entry"):
        exact_retraining(additive, ["ann"], seeds=(0,), cache=cache)


def test_a_cache_that_cannot_be_written_is_one_error(tmp_path) -> None:
    with pytest.raises(RetrainingError, match="cannot be used"):
        exact_retraining(additive, ["ann"], seeds=(0,), cache=tmp_path)
