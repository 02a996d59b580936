"""Contributors, datasets, consent, estates and runs at random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from sqlmodel import Session

from ledger import consents, estates, registry
from ledger.instants import format_instant
from ledger.valuation import book_run
from tests.ledger.records import BEGAN as RUNS_BEGAN
from tests.ledger.records import synthetic_record
from tests.ledger.reliability import model
from tests.ledger.reliability.machine.base import BEGAN, CRASHES, PEOPLE, STRANGER, WHO, Machine
from tests.ledger.reliability.model import Run, Worth

# Of 2**-10 nat: with these, and weights of a quarter, every sum is exact in float64 and in 1e-12 nat.
NATS = st.integers(-(2**10), 2**12)
UNIT = 2**-10
WEIGHTS = (0.25, 0.75)


def piconats(parts: int, weight: float = 1.0) -> int:
    return int(parts * 4 * weight) * 10**12 // 2**12


def worth_of(
    values: Mapping[str, Sequence[int]], house: Sequence[int], gap: Sequence[int], task: int, weight: float = 1.0
) -> Worth:
    by_name = {name: piconats(parts[task], weight) for name, parts in values.items()}
    return Worth(by_name, piconats(house[task], weight), piconats(gap[task], weight))


class RegistryRules(Machine):
    """What happens before money."""

    def __init__(self) -> None:
        super().__init__()
        self.fingerprints: dict[str, str] = {}
        self.identities: dict[str, str] = {}

    def furnish(self) -> None:
        for number, name in enumerate(PEOPLE, start=1):
            self.a_dataset_is_registered(number, name, -60, None)

    @rule(name=st.sampled_from([*PEOPLE, "dan"]), called=st.sampled_from(["Ann", "Dan"]), crash=CRASHES)
    def a_contributor_is_added(self, name: str, called: str, crash: int | None) -> None:
        self.step(
            lambda session: registry.add_contributor(session, name, called) and None,
            lambda books: books.add_contributor(name, called),
            crash,
        )

    @rule(number=st.integers(1, 6), owner=WHO, days=st.sampled_from([None, -60, -60, -1, 0, 9]), crash=CRASHES)
    def a_dataset_is_registered(self, number: int, owner: str, days: int | None, crash: int | None) -> None:
        label = f"data {number}"
        at = None if days is None else format_instant(BEGAN + timedelta(days=days))

        def asked(session: Session) -> None:
            made = registry.register_dataset(
                session, owner, [label], name=label, licence="MIT", consent_given_at=at, paths=[]
            )
            self.fingerprints[label] = made.dataset.fingerprint

        self.step(asked, lambda books: books.register_dataset(label, owner, at), crash)

    @precondition(lambda self: self.model.datasets)
    @rule(
        data=st.data(),
        change=st.sampled_from(["given", "withdrawn"]),
        days=st.sampled_from([-60, -1, 0, 9, 45]),
        crash=CRASHES,
    )
    def consent_changes(self, data: st.DataObject, change: str, days: int, crash: int | None) -> None:
        label = data.draw(st.sampled_from(sorted(self.model.datasets)), label="dataset")
        at = format_instant(BEGAN + timedelta(days=days))
        asked = consents.give_consent if change == "given" else consents.withdraw_consent
        self.step(
            lambda session: asked(session, self.fingerprints[label], at) and None,
            lambda books: books.change_consent(label, change, at),
            crash,
        )

    @rule(
        name=WHO,
        payees=st.dictionaries(st.sampled_from([*PEOPLE, *PEOPLE, STRANGER]), st.integers(1, 5), max_size=2),
        crash=CRASHES,
    )
    def an_estate_is_set(self, name: str, payees: dict[str, int], crash: int | None) -> None:
        self.step(
            lambda session: estates.set_estate(session, name, payees) and None,
            lambda books: books.set_estate(name, payees),
            crash,
        )

    @rule(
        values=st.dictionaries(WHO, st.tuples(NATS, NATS), min_size=1),
        house=st.tuples(NATS, NATS) | st.just((0, 0)),
        gap=st.one_of(*[st.just((0, 0))] * 4, st.tuples(st.integers(-9, 9), st.integers(-9, 9))),
        two_tasks=st.booleans(),
        naming=st.booleans(),
        complete=st.sampled_from([True] * 7 + [False]),
        allowed=st.booleans(),
        crash=CRASHES,
    )
    def a_run_is_booked(
        self,
        values: Mapping[str, Sequence[int]],
        house: Sequence[int],
        gap: Sequence[int],
        two_tasks: bool,
        naming: bool,
        complete: bool,
        allowed: bool,
        crash: int | None,
    ) -> None:
        label = f"run {len(list(self.folder.glob('run *')))}"
        tasks = ("sport", "business")[: 1 + two_tasks]
        weights = WEIGHTS if two_tasks else (1.0,)
        worths = [worth_of(values, house, gap, k) for k in range(len(tasks))]
        weighted = [worth_of(values, house, gap, k, weight) for k, weight in enumerate(weights)]
        whole = Worth(
            {name: sum(worth.values[name] for worth in weighted) for name in values},
            sum(worth.house for worth in weighted),
            sum(worth.gap for worth in weighted),
        )
        owned = [(owner, label) for label, (owner, _) in sorted(self.model.datasets.items())]
        own = {name: [label for owner, label in owned if owner == name][:1] for name in values}
        named = {name: own[name] for name in values if own[name] and naming}
        record: Any = synthetic_record(
            {name: [part * UNIT for part in value[: len(tasks)]] for name, value in values.items()},
            house=[part * UNIT for part in house[: len(tasks)]],
            gap=[part * UNIT for part in gap[: len(tasks)]],
            tasks=tasks,
            weights=weights,
            complete=complete,
            data={name: [self.fingerprints[one] for one in labels] for name, labels in named.items()},
            label=label,
        )
        path = record.save(self.folder / label)
        self.identities[label] = record.identity
        supplied = {
            name: named.get(name, []) for name, value in values.items() if any(value[: len(tasks)]) or name in named
        }
        by_task = dict(zip(tasks, worths, strict=True))
        run = Run(record.identity, whole, by_task, supplied, RUNS_BEGAN.replace("Z", ".000000Z"), complete)
        self.step(
            lambda session: book_run(session, path, partial=allowed).run.entry,
            lambda books: books.book(label, model.Run(**vars(run)), partial=allowed),
            crash,
        )
