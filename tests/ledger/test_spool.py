import tracemalloc
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.spool import Spool, Table, ordered
from tests.alone import alone


@dataclass(frozen=True)
class Figure:
    name: str
    amount: int


@given(st.lists(st.integers() | st.text()), st.integers(1, 4))
def test_what_was_kept_is_read_in_its_order_and_again(items: list[object], block: int) -> None:
    kept = Spool(items, block=block)
    assert list(kept) == items
    assert list(kept) == items
    assert len(kept) == len(items)
    assert kept == items


@given(st.lists(st.integers(), min_size=1), st.integers(1, 4))
def test_one_item_more_or_another_one_is_not_equal(items: list[int], block: int) -> None:
    kept = Spool(items, block=block)
    assert kept != items[1:]
    assert kept != [*items[:-1], items[-1] + 1]


@given(st.lists(st.integers(), max_size=5), st.integers(-6, 6), st.slices(5))
def test_one_item_and_a_slice_are_those_of_a_list(items: list[int], place: int, part: slice) -> None:
    kept = Spool(items, block=2)
    assert kept[part] == items[part]
    if -len(items) <= place < len(items):
        assert kept[place] == items[place]
    else:
        with pytest.raises(IndexError):
            kept[place]


@given(st.dictionaries(st.text(), st.integers()))
def test_a_table_is_read_as_the_dictionary_of_its_rows(rows: dict[str, int]) -> None:
    table = Table(rows.items())
    assert dict(table) == rows
    assert (len(table), list(table)) == (len(rows), list(rows))
    assert (list(table.items()), list(table.values())) == (list(rows.items()), list(rows.values()))
    assert all(table[key] == value for key, value in rows.items())
    with pytest.raises(KeyError):
        table["no such key\x00"]


def test_two_readers_do_not_disturb_each_other() -> None:
    kept = Spool(range(10), block=3)
    assert list(zip(kept, kept, strict=True)) == [(n, n) for n in range(10)]
    reader = iter(kept)
    first = [next(reader) for _ in range(4)]
    kept.append(10)
    assert [*first, *reader] == list(range(11))


def test_dataclasses_come_back_as_they_were() -> None:
    figures = [Figure("alice", 2**256 - 1), Figure("bob", -1)]
    assert list(Spool(figures, block=1)) == figures


@given(st.lists(st.tuples(st.integers(-3, 3), st.text(max_size=2))), st.integers(1, 5))
def test_sorting_in_runs_is_sorting(items: list[tuple[int, str]], run: int) -> None:
    assert list(ordered(items, run=run)) == sorted(items)


@pytest.mark.parametrize(
    "use",
    [lambda items: len(Spool(items)), lambda items: sum(1 for _ in Spool(items)), lambda items: _last(items)],
    ids=["kept", "read", "sorted"],
)
@alone
def test_memory_holds_a_part_of_the_items(use: Callable[[Iterable[object]], object]) -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        use((number, f"contributor-{number:06d}") for number in range(count))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(40_000) < 2 * peak(10_000)


def _last(items: Iterable[object]) -> object:
    return deque(ordered(items, run=2000), maxlen=1)
