"""No statement of the writer reads a whole table of jobs or edges, however many there are."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from broker_queue.job import Condition, State
from broker_queue.protocol.messages import ListJobs
from scheduler.store import dispatch, queries
from tests.model.history import Cancel, Link, Report, Request, Retry, Spec, Step, Submit
from tests.model.stored import StoredEngine
from tests.support.databases import quick_engine

LARGE = ("job", "edge", "args", "outcome", "reference", "progress")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = quick_engine(tmp_path)
    yield engine
    engine.dispose()


def scans(engine: Engine, executed: set[str]) -> list[tuple[str, str]]:
    """The lines of plans that read a large table from end to end, with their statements."""
    with engine.connect() as connection:
        plans = {
            statement: connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}").all()
            for statement in executed
        }
    return [
        (line, statement)
        for statement, lines in plans.items()
        for *_, line in lines
        for table in LARGE
        if line == f"SCAN {table}" or line.startswith(f"SCAN {table} USING COVERING INDEX")
    ]


def watched(engine: Engine) -> set[str]:
    """The statements that are executed from now on, with their values."""
    executed: set[str] = set()

    def note(statement: str) -> None:
        # of an INSERT the plan also shows a look for children that runs only if a key was violated
        if statement.split(maxsplit=1)[0] in {"SELECT", "UPDATE", "DELETE", "WITH"}:
            executed.add(statement)

    with engine.connect() as connection:  # the only one
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        driver.set_trace_callback(note)
    return executed


def test_no_operation_reads_a_whole_table(engine: Engine) -> None:
    store = StoredEngine(engine)
    executed = watched(engine)

    def play(*requests: Request, reports: tuple[Report, ...] = (), after: int = 0) -> None:
        store.play(Step(after, reports, requests))

    first = Spec((), 2, 1, 4, 0, 3_000)
    wide = [
        Spec(((~0, Condition.SUCCESS),), 1, number % 2 or None, 4, 5 * number, None)
        for number in range(8)
    ]
    play(Submit((first, *wide), (), 1))
    play(reports=(Report(0, "started", 1, "w"),))
    play(reports=(Report(0, "failed", 1, "w", 5_000),))
    play(after=5_000)
    play(reports=(Report(0, "released", 2, "w"),))
    play(Submit((), (Link(1, 0, Condition.ANY),), None))
    play(reports=(Report(0, "final failure", 3, "w"),))
    play(Retry((0,)))
    play(Cancel((9,), None, True))
    play(Retry((9,)))
    play(Cancel((), 1))
    for own in [it for it in executed if "FROM job ORDER BY" in it.replace("\n", "")]:
        executed.remove(own)  # the test's own look at all jobs
    assert len(executed) > 20
    assert scans(engine, executed) == []


def test_what_is_asked_often_reads_no_whole_table(engine: Engine) -> None:
    executed = watched(engine)
    with engine.begin() as connection:
        queries.list_jobs(connection, ListJobs(states=[State.FAILED]), None)
        queries.list_jobs(connection, ListJobs(states=[State.CANCELED, State.SKIPPED]), None)
        queries.open_dependencies(connection, 1, 5)
        queries.end_of_way(connection, 1, 100)
        queries.queue_lines(connection)
        dispatch.publishing(connection)
        dispatch.lying_jobs(connection, [1])
        dispatch.queues_with_held(connection)
        dispatch.queues_with_lying(connection)
        dispatch.held(connection, 1)
        dispatch.unpublish(connection, 1)
    assert len(executed) == 12
    assert scans(engine, executed) == []
