"""Graphs whose jobs run in six languages, and what becomes of them when a worker dies."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker_queue import Job, Worker
from broker_queue.client import JobQueue
from broker_queue.job import JobId, State
from broker_queue.status import JobStatus
from examples.languages import graph
from examples.languages.graph import Analysis
from examples.languages.workers import BY_NAME, LANGUAGES, Language
from tests.languages.duties import LEASE, LEASE_AFTER
from tests.languages.fleet import Fleet
from tests.support.schedulers import RunningScheduler
from tests.support.waiting import PATIENCE, TIMEOUT_FACTOR, until
from tests.support.workers import running

PROJECT = Path(__file__).parents[2]

AT_ONCE = 5
"""Graphs."""

PAUSE = 1.0 * TIMEOUT_FACTOR
"""Seconds that the job takes whose worker is killed: it is stopped well before they are over."""

LONGEST = "The quick brown fox jumps over the lazy dog."
TEXT = f"{LONGEST} Straße für Straße!\nThe end?\n"

RESULTS = {
    "fingerprint": {
        "sha256": hashlib.sha256(TEXT.encode()).hexdigest(),
        "bytes": len(TEXT.encode()),
        "characters": len(TEXT),
    },
    "words": {
        "words": 14,
        "top": [["the", 3], ["straße", 2], ["brown", 1], ["dog", 1], ["end", 1]],
    },
    "lines": {"lines": 2, "longest": len(TEXT.splitlines()[0])},
    "letters": {"letters": sum(map(str.isalpha, TEXT)), "most": "e"},
    "sentences": {"sentences": 3, "longest": LONGEST},
}


@pytest.fixture
async def scheduler(
    request: pytest.FixtureRequest, broker_url: str, namespace: str, database: Path
) -> AsyncIterator[RunningScheduler]:
    """A scheduler with the settings that a test is parametrized with."""
    settings = getattr(request, "param", {})
    async with RunningScheduler(
        url=broker_url, namespace=namespace, database=database, **settings
    ) as started:
        yield started


@pytest.fixture
async def fleet(
    scheduler: RunningScheduler, broker_url: str, namespace: str, tmp_path: Path
) -> AsyncIterator[Fleet]:
    """Workers that find README.md, no one of which is started."""
    folder = tmp_path / "fleet"
    folder.mkdir()
    (folder / "README.md").write_text(TEXT)
    async with Fleet(broker_url, namespace, folder) as workers:
        yield workers


async def submitted(queue: JobQueue, paused: Language, seconds: float = 0) -> Analysis:
    analysis = graph.build(LANGUAGES, paused, seconds)
    await queue.submit(analysis.graph)
    return analysis


async def check(queue: JobQueue, analysis: Analysis) -> dict[str, JobStatus]:
    """Check that a graph finished, each job in its first attempt, and return its jobs by name."""
    await ended(queue, analysis)
    jobs = {job.name or "": await queue.job_status(JobId(job.id)) for job in analysis.graph.jobs}
    assert {name: (job.state, job.attempt) for name, job in jobs.items()} == dict.fromkeys(
        ["read", *RESULTS, "pause", "report"], (State.FINISHED, 1)
    )
    assert jobs["read"].result == TEXT
    assert {name: jobs[name].result for name in RESULTS} == RESULTS
    assert jobs["pause"].result["fingerprint"] == RESULTS["fingerprint"]
    report = jobs["report"].result["report"]
    assert report.startswith("# README.md\n")
    assert f"> {LONGEST}\n" in report
    assert "14 words, most often: the (3), straße (2)" in report
    return jobs


async def ended(queue: JobQueue, analysis: Analysis) -> None:
    """Return once a graph has ended; else say why it does not."""
    try:
        await queue.wait(analysis.report, timeout=2 * PATIENCE)
    except TimeoutError:
        explanation = await queue.explain(analysis.report)
        raise AssertionError(explanation.summary) from None


async def held(queue: JobQueue, jobs: list[JobId]) -> JobId:
    """Return the first of some jobs that runs."""
    found: list[JobId] = []

    async def one_runs() -> bool:
        statuses = await queue.job_statuses(jobs)
        found.extend(JobId(job.id) for job in statuses if job.state is State.RUNNING)
        return bool(found)

    await until(one_runs)
    return found[0]


async def consumed(queue: JobQueue, types: set[str], workers: int) -> None:
    """Return once so many workers consume the jobs of each type, of which there has been one."""

    async def is_so() -> bool:
        listed = (await queue.info()).queues
        return types == {each.type for each in listed if each.consumers == workers}

    await until(is_so)


async def leased(database: Path, job: JobId, after: int = 0) -> int:
    """Return until when a job is leased, once that is later than `after`."""

    async def is_leased() -> bool:
        return number_of("leased_until", database, job) > after

    await until(is_leased)
    return number_of("leased_until", database, job)


def hand_overs(database: Path, job: JobId) -> int:
    """Return how often a job was handed out by the scheduler."""
    return number_of("handover", database, job)


def number_of(column: str, database: Path, job: JobId) -> int:
    with closing(sqlite3.connect(database, timeout=PATIENCE)) as connection:
        identity = bytes.fromhex(job.replace("-", ""))
        row = connection.execute(f"SELECT {column} FROM job WHERE id = ?", (identity,)).fetchone()
    return int(row[0] or 0)


async def test_six_languages_hand_on_their_results(queue: JobQueue, fleet: Fleet) -> None:
    await fleet.start(*BY_NAME)
    graphs = [await submitted(queue, language) for language in LANGUAGES]
    for analysis in graphs:
        await check(queue, analysis)


@pytest.mark.parametrize("victim", BY_NAME)
async def test_a_worker_that_is_killed_leaves_its_job_to_the_next(
    queue: JobQueue, fleet: Fleet, database: Path, victim: str
) -> None:
    await fleet.start(*BY_NAME)
    graphs = [await submitted(queue, BY_NAME[victim], PAUSE) for _ in range(AT_ONCE)]
    job = await held(queue, [analysis.pause for analysis in graphs])
    fleet.pause(victim)
    before = await queue.job_status(job)
    assert before.state is State.RUNNING
    await fleet.kill(victim)
    await fleet.start(victim)
    for analysis in graphs:
        await check(queue, analysis)
    assert (await queue.job_status(job)).worker not in {None, before.worker}
    assert hand_overs(database, job) == 1  # the broker gave it to the next one


@pytest.mark.parametrize(
    "scheduler", [{"lease_after": LEASE_AFTER, "lease_duration": LEASE}], indirect=True
)
@pytest.mark.parametrize("victim", ["go", "node", "java"])
async def test_a_worker_that_is_killed_while_it_has_a_lease_is_missed(
    queue: JobQueue, fleet: Fleet, database: Path, victim: str
) -> None:
    await fleet.start(*BY_NAME)
    analysis = await submitted(queue, BY_NAME[victim], LEASE_AFTER + 2 * LEASE)
    first = await leased(database, analysis.pause)
    await leased(database, analysis.pause, after=first)  # so its message is acknowledged
    await fleet.kill(victim)
    await fleet.start(victim)
    await check(queue, analysis)
    assert hand_overs(database, analysis.pause) == 2


async def test_a_language_that_nobody_speaks_is_named_and_waited_for(
    queue: JobQueue, fleet: Fleet
) -> None:
    await fleet.start(*(set(BY_NAME) - {"ruby"}))
    analysis = await submitted(queue, BY_NAME["go"])
    ids = {job.name: JobId(job.id) for job in analysis.graph.jobs}
    for name in set(RESULTS) - {"sentences"}:
        await queue.wait(ids[name], timeout=PATIENCE)

    async def is_explained() -> bool:
        return (await queue.explain(ids["sentences"])).reasons[0].kind == "no_worker"

    await until(is_explained)
    explanation = await queue.explain(analysis.report)
    assert explanation.state is State.WAITING
    assert "text.sentences" in explanation.summary
    await fleet.start("ruby")
    await check(queue, analysis)


async def test_what_docker_compose_runs_ends_with_a_report(
    queue: JobQueue, fleet: Fleet, broker_url: str, namespace: str, tmp_path: Path
) -> None:
    await fleet.start(*BY_NAME)
    services = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"]
    process = await asyncio.create_subprocess_exec(
        *services["languages"]["command"],
        cwd=PROJECT,
        env={
            **os.environ,
            "BROKER_QUEUE_URL": broker_url,
            "BROKER_QUEUE_NAMESPACE": namespace,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "XDG_STATE_HOME": str(tmp_path / "state"),
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(2 * PATIENCE):
        out, _ = await process.communicate()
    assert process.returncode == 0
    assert f"{len(TEXT)} characters in {len(TEXT.encode())} bytes" in out.decode()


async def test_workers_of_ours_and_of_other_languages_share_a_queue(
    queue: JobQueue, fleet: Fleet, broker_url: str, namespace: str
) -> None:
    mine: Counter[str] = Counter()
    ours = Worker(concurrency=8, name="ours")

    async def rehearse(args: dict[str, Any], job: Job) -> dict[str, Any]:
        mine[job.id] += 1
        await asyncio.sleep(args["seconds"])
        return args

    for language in LANGUAGES:
        ours.job(language.rehearsal)(rehearse)
    await fleet.start(*BY_NAME)
    async with running(ours, broker_url, namespace):
        for language in LANGUAGES:
            await queue.enqueue(language.rehearsal, {"seconds": 0})
        await consumed(queue, {language.rehearsal for language in LANGUAGES}, 2)
        args = {"seconds": 0.1}  # long enough for `started`, which names the worker
        jobs = {
            await queue.enqueue(language.rehearsal, args | {"number": number}): (language, number)
            for number in range(20)
            for language in LANGUAGES
        }
        workers: dict[str, set[str]] = {}
        for status in await queue.wait(list(jobs), timeout=2 * PATIENCE):
            language, number = jobs[status.id]
            assert status.state is State.FINISHED
            assert status.result == args | {"number": number}
            assert status.worker is not None
            assert (status.worker == "ours") == (mine[status.id] == 1)
            workers.setdefault(language.name, set()).add(status.worker)
    assert set(mine.values()) == {1}
    assert {name: len(found) for name, found in workers.items()} == dict.fromkeys(BY_NAME, 2)
