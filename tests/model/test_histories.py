"""The rules and the store against the reference, history by history, job by job."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from sqlalchemy import Engine, delete

from scheduler.store.tables import metadata
from tests.model.history import Command, histories, play
from tests.model.history import Engine as HistoryEngine
from tests.model.pure import PureEngine
from tests.model.reference import Reference
from tests.model.stored import StoredEngine
from tests.support.databases import quick_engine

SCALE = float(os.environ.get("TEST_SCALE", "1"))
"""Multiplies how many histories are played."""

PURE_HISTORIES = round(1_150 * SCALE)
STORED_HISTORIES = round(80 * SCALE)

quiet = settings(
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
    database=None,
)


def compare(engine: HistoryEngine, history: list[Command]) -> None:
    reference = Reference()
    for number, command in enumerate(history):
        expected = play(reference, command)
        answered = play(engine, command)
        assert answered == expected, (number, command)
        seen = engine.seen()
        reference.adopt_causes([facts.cause for facts in seen])
        assert seen == reference.seen(), (number, command)


@pytest.mark.timeout(1200)  # an example that fails is made small first
def test_the_rules_do_what_the_reference_does_in_a_hundred_thousand_transitions() -> None:
    transitions = 0

    @settings(quiet, max_examples=PURE_HISTORIES)
    @given(histories(80, 150))
    def run(history: list[Command]) -> None:
        nonlocal transitions
        engine = PureEngine()
        compare(engine, history)
        transitions += engine.transitions

    run()
    assert transitions >= 100_000 * min(SCALE, 1), transitions


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    memory = Path("/dev/shm")  # a file system in memory, where there is one
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        engine = quick_engine(Path(folder))
        yield engine
        engine.dispose()


@pytest.mark.timeout(1200)
def test_the_store_does_what_the_reference_does(engine: Engine) -> None:
    @settings(quiet, max_examples=STORED_HISTORIES)
    @given(histories(40, 100))
    def run(history: list[Command]) -> None:
        with engine.begin() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(delete(table))
        stored = StoredEngine(engine)
        compare(stored, history)
        stored.check()

    run()
