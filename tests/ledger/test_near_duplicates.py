from __future__ import annotations

import re
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import MissingLibraryError, SimilarityError
from ledger.near_duplicates import Pair, RecordIndex, Sample, Side, clusters, shingles

HARBOUR = (
    "The harbour council voted on Tuesday to dredge the northern channel before winter, after three freighters had run "
    "aground there since March. Work is to begin in October and to cost eleven million crowns, of which the shipping "
    "lines will pay a third. Fishermen fear for the herring, and asked for a pause while the fish are spawning."
)
ORCHARD = (
    "Prune apple trees while they sleep, on a dry day without frost. Take out what is dead, what crosses and what "
    "grows inwards, so that light reaches the middle of the crown. A young tree wants a firm hand, an old one "
    "patience: never cut more than a quarter of the wood in one year, or it will answer with water shoots."
)
STATION = (
    "She had waited at the small station since noon. The clock above the ticket window had stopped at twenty past "
    "nine, perhaps years ago, and nobody seemed to mind. When the train came at last it was not the one she had "
    "expected, but the conductor knew her name, and held the door."
)
# Some words changed, a sentence's end cut off, other case and punctuation: what a copyist does in a minute.
HARBOUR_EDITED = (
    "The harbour council voted on Tuesday to dredge the northern channel before winter, after three freighters had run "
    "aground there since March! Work is to begin in OCTOBER and to cost eleven million crowns, of which the shipping "
    "lines will pay a third. Fishermen fear for the herring, and asked for a pause while the fish spawn"
)
ORCHARD_EDITED = ORCHARD.replace("an old one patience", "an old one needs patience").replace(". ", ".\n")
# The same news in other words.
HARBOUR_TOLD_ANEW = (
    "Before the cold season a deeper northern fairway will be dug, the port's councillors have decided: since spring "
    "no fewer than three cargo ships got stuck in it. Eleven million crowns are planned, a third of it from ship "
    "owners, starting in autumn. Those who live from herring want the diggers to rest when the shoals spawn."
)
FILLERS = [f"Entry {n} of the log: wind from {d}, sea calm, {n} gulls." for n, d in enumerate(("east", "west"), 3)]


def index(threshold: float = 0.8, **held: list[str]) -> RecordIndex:
    made = RecordIndex(threshold)
    for contributor, records in held.items():
        for record in records:
            made.add(contributor, record)
    return made


def shares(threshold: float = 0.8, **held: list[str]) -> dict[tuple[str, str], tuple[float, float]]:
    return {pair.names: (pair.one.share, pair.other.share) for pair in index(threshold, **held).pairs()}


@pytest.mark.parametrize(
    ("theirs", "verbatim", "alike"),
    [
        pytest.param(HARBOUR, 1, 1, id="verbatim"),
        pytest.param(HARBOUR.replace(". ", ".  \r\n") + "\n", 0, 1, id="broken into lines"),
        pytest.param(HARBOUR + " \r\n", 1, 1, id="white space at the end"),
        pytest.param(HARBOUR_EDITED, 0, 1, id="lightly edited"),
        pytest.param(HARBOUR_TOLD_ANEW, 0, 0, id="told in other words"),
        pytest.param(ORCHARD, 0, 0, id="unrelated"),
        pytest.param(f"{HARBOUR} {ORCHARD} {STATION}", 0, 0, id="joined with others"),
    ],
)
def test_a_copy_is_found_edited_too_but_not_told_in_other_words(theirs: str, verbatim: int, alike: int) -> None:
    pairs = index(alice=[HARBOUR, STATION], bob=[theirs]).pairs()
    found = [(pair.one.verbatim, pair.one.alike, pair.other.verbatim, pair.other.alike) for pair in pairs]
    assert found == ([(verbatim, alike, verbatim, alike)] if alike else [])


def test_shares_are_of_each_ones_own_records_and_count_copies() -> None:
    alice = [HARBOUR, ORCHARD, STATION, *FILLERS]
    bob = [HARBOUR_EDITED, HARBOUR_EDITED, HARBOUR_TOLD_ANEW, " \n"]
    (pair,) = index(alice=alice, bob=bob).pairs()
    assert pair.one == Side("alice", 5, verbatim=0, alike=1)
    assert pair.other == Side("bob", 3, verbatim=0, alike=2)
    assert (pair.one.share, pair.other.share, pair.mutual_share) == (1 / 5, 2 / 3, 1 / 5)


def test_a_record_with_a_twin_and_an_edited_twin_counts_once() -> None:
    (pair,) = index(alice=[HARBOUR], bob=[HARBOUR, HARBOUR_EDITED]).pairs()
    assert pair.one == Side("alice", 1, verbatim=1, alike=1)
    assert pair.other == Side("bob", 2, verbatim=1, alike=2)


def test_copies_of_ones_own_are_nobody_elses() -> None:
    assert shares(alice=[HARBOUR, HARBOUR, HARBOUR_EDITED], bob=[STATION]) == {}


def test_every_pair_of_three_is_found_and_the_largest_share_comes_first() -> None:
    held = {"alice": [HARBOUR, ORCHARD], "bob": [HARBOUR_EDITED, STATION, *FILLERS], "carol": [ORCHARD_EDITED, HARBOUR]}
    assert list(shares(**held).items()) == [
        (("alice", "carol"), (1.0, 1.0)),
        (("alice", "bob"), (0.5, 0.25)),
        (("bob", "carol"), (0.25, 0.5)),
    ]


def test_samples_show_what_is_alike_but_not_verbatim_with_an_estimate_near_the_truth() -> None:
    (pair,) = index(alice=[STATION, HARBOUR], bob=[HARBOUR_EDITED, STATION]).pairs()
    (sample,) = pair.samples
    one, other = shingles(HARBOUR), shingles(HARBOUR_EDITED)
    truth = len(one & other) / len(one | other)
    assert HARBOUR.startswith(sample.one)
    assert HARBOUR_EDITED.startswith(sample.other)
    assert sample.similarity == pytest.approx(truth, abs=4 * (truth * (1 - truth) / 128) ** 0.5)


def test_the_threshold_decides_what_is_alike() -> None:
    half = f"{HARBOUR[: len(HARBOUR) // 2]} {STATION[: len(STATION) // 2]}"
    assert shares(0.8, alice=[HARBOUR], bob=[half]) == {}
    assert shares(0.25, alice=[HARBOUR], bob=[half]) == {("alice", "bob"): (1.0, 1.0)}
    assert shares(1.0, alice=[HARBOUR], bob=[HARBOUR_EDITED]) == {}
    assert shares(1.0, alice=[HARBOUR], bob=[HARBOUR.upper()]) == {("alice", "bob"): (1.0, 1.0)}


@pytest.mark.parametrize("wrong", [0.0, -0.5, 1.01, float("nan")])
def test_a_threshold_or_share_that_is_none_is_refused(wrong: float) -> None:
    with pytest.raises(SimilarityError):
        RecordIndex(wrong)
    with pytest.raises(SimilarityError):
        clusters([], wrong)


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("", "", False),
        ("hello", "Hello!", True),
        ("hello", "goodbye", False),
        ("two words", "two  words", True),
        ("🙂", "🙂", True),
        ("🙂", "🙃", False),
        ("\ud800 broken", "\ud800 broken", True),
        (
            "吾輩は猫である。名前はまだ無い。どこで生れたか頓と見当がつかぬ。",
            "吾輩は猫である、名前はまだ無い。どこで生れたか頓と見当がつかぬ",
            True,
        ),
        ("吾輩は猫である。名前はまだ無い。", "国境の長いトンネルを抜けると雪国であった。", False),
    ],
)
def test_short_records_and_other_scripts_are_compared_too(one: str, other: str, alike: bool) -> None:
    assert bool(shares(alice=[one], bob=[other])) == alike


def test_a_long_record_is_hashed_in_pieces() -> None:
    words = [f"word{number}" for number in range(10_000)]
    edited = [*words[:5000], "another", *words[5001:]]
    assert shares(alice=[" ".join(words)], bob=[" ".join(edited)]) == {("alice", "bob"): (1.0, 1.0)}


def test_the_same_records_give_the_same_pairs_whatever_the_order_and_the_process() -> None:
    held = {"alice": [HARBOUR, ORCHARD, STATION], "bob": [STATION, HARBOUR_EDITED]}
    forward = index(**held).pairs()
    turned = {name: list(reversed(records)) for name, records in reversed(held.items())}
    assert [(pair.one, pair.other) for pair in index(**turned).pairs()] == [(pair.one, pair.other) for pair in forward]
    # From another process, whose text hashes are seeded otherwise.
    assert forward[0].samples[0].similarity == 0.984375


def test_records_pass_through_unchanged_and_progress_may_be_watched() -> None:
    made = RecordIndex()
    assert list(made.watching("alice", [HARBOUR, " ", HARBOUR])) == [HARBOUR, " ", HARBOUR]
    list(made.watching("bob", [HARBOUR, ORCHARD]))
    watched: list[int] = []

    def watch(places: object) -> object:
        watched.extend(places)  # type: ignore[call-overload]
        return watched

    assert len(made.pairs(watch)) == 1  # type: ignore[arg-type]
    assert watched == [0, 1]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 199), max_size=12, unique=True))
def test_records_at_the_threshold_are_rarely_missed(changed: list[int]) -> None:
    words = [f"w{number}" for number in range(200)]
    edited = [f"x{number}" if number in changed else word for number, word in enumerate(words)]
    one, other = shingles(" ".join(words)), shingles(" ".join(edited))
    truth = len(one & other) / len(one | other)
    found = bool(shares(alice=[" ".join(words)], bob=[" ".join(edited)]))
    if abs(truth - 0.8) > 0.15:
        assert found == (truth > 0.8)


def pair(one: str, other: str, *alike: int) -> Pair:
    return Pair(Side(one, 10, 0, alike[0]), Side(other, 10, 0, alike[1]), (Sample("a", "b", 1.0),))


def test_clusters_are_of_those_who_hold_the_same_directly_or_through_others() -> None:
    pairs = [pair("a", "b", 9, 9), pair("b", "c", 8, 10), pair("d", "e", 9, 1), pair("f", "g", 8, 8)]
    assert clusters(pairs, 0.8) == [["a", "b", "c"], ["f", "g"]]
    assert clusters(pairs, 0.9) == [["a", "b"]]
    assert clusters(pairs, 0.1) == [["a", "b", "c"], ["d", "e"], ["f", "g"]]
    assert clusters([], 0.5) == []


def test_without_the_library_what_to_install_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasketch", None)
    with pytest.raises(MissingLibraryError, match=re.escape("pip install 'ghostledger[duplicates]'")):
        RecordIndex()
