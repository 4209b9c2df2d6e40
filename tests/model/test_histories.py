"""The rules and the store against the reference, history by history, job by job."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from sqlalchemy import Engine, delete

from broker_queue.job import State
from scheduler.rules.lifecycle import TRANSITIONS, Event
from scheduler.store.tables import metadata
from tests.model.history import Command, histories, in_steps, resolve
from tests.model.history import Engine as HistoryEngine
from tests.model.pure import PureEngine
from tests.model.reference import CopiesWaitForEachOther, Reference
from tests.model.stored import StoredEngine
from tests.support.databases import quick_engine

SCALE = float(os.environ.get("TEST_SCALE", "1"))
"""Multiplies how many histories are played."""

PURE_HISTORIES = round(2_150 * SCALE)
STORED_HISTORIES = round(130 * SCALE)

quiet = settings(
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
    database=None,
    phases=(Phase.generate, Phase.shrink),  # the explaining one traces each line
)


def compare(engine: HistoryEngine, history: list[Command]) -> None:
    """Play a history and compare answers and jobs after each step."""
    reference = Reference()
    before = reference.seen()
    for number, commands in enumerate(in_steps(history)):
        step = resolve(commands, before)
        try:
            expected = reference.play(step)
        except CopiesWaitForEachOther:
            return  # see test_copies_of_a_retry_never_wait_for_each_other
        assert engine.play(step) == expected, (number, step)
        seen = engine.seen()
        reference.adopt_causes([facts.cause for facts in seen])
        before = reference.seen()
        assert seen == before, (number, step)


@pytest.mark.timeout(1200)  # an example that fails is made small first
def test_the_rules_do_what_the_reference_does_in_a_hundred_thousand_transitions() -> None:
    accepted: Counter[tuple[State, type[Event]]] = Counter()

    @settings(quiet, max_examples=PURE_HISTORIES)
    @given(histories(80, 150))
    def run(history: list[Command]) -> None:
        engine = PureEngine()
        compare(engine, history)
        accepted.update(engine.accepted)

    run()
    if SCALE >= 1:
        assert accepted.keys() == TRANSITIONS.keys()
        assert accepted.total() >= 100_000


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    memory = Path("/dev/shm")  # a file system in memory, where there is one
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        engine = quick_engine(Path(folder))
        yield engine
        engine.dispose()


@pytest.mark.timeout(1200)
def test_the_store_does_what_the_reference_does_and_the_rules_in_the_same_histories(
    engine: Engine,
) -> None:
    @settings(quiet, max_examples=STORED_HISTORIES)
    @given(histories(40, 100))
    def run(history: list[Command]) -> None:
        with engine.begin() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(delete(table))
        stored = StoredEngine(engine)
        compare(PureEngine(), history)
        compare(stored, history)
        stored.check()

    run()
