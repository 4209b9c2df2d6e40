"""The example workers, interrupted while a job waits in them for its turn."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

import pytest

from broker_queue.amqp.wiretap import Delivered, Event, Published, Settled
from broker_queue.conformance.proxy import Proxy
from broker_queue.job import JobId, State
from examples.languages.workers import LANGUAGES, Language
from tests.languages.duties import A_WHILE, FOREVER, Stage
from tests.languages.fleet import COMMANDS
from tests.support.waiting import PATIENCE, until

ARGS = {
    language.name: {"title": "Fox"} if language.name == "python" else {"text": "A fox."}
    for language in LANGUAGES
}
HEADERS = {"protocol": 1, "attempt": 1, "max_attempts": 1, "dependency_count": 0}
LEVEL_2 = [language for language in LANGUAGES if language.name in {"python", "ruby", "shell"}]

every_language = pytest.mark.parametrize("language", LANGUAGES, ids=lambda each: each.name)
every_one_of_level_2 = pytest.mark.parametrize("language", LEVEL_2, ids=lambda each: each.name)


@pytest.fixture
def command(language: Language) -> Sequence[str]:
    return COMMANDS[language.name]()


@pytest.fixture
def job_type(language: Language) -> str:
    return language.rehearsal


class Watch(Proxy):
    """Knows what the worker was given, and what it did with it; cuts where it is told to.

    Args:
        url: of the broker.
        cut_at: a report that is lost on its way to the broker, once, with its connection.
    """

    def __init__(self, url: str, cut_at: str | None = None) -> None:
        super().__init__(url, self._on_event)
        self._cut_at = cut_at
        self.tokens: dict[str, str] = {}
        """By job type, of the job delivered last."""
        self.deliveries: Counter[str] = Counter()
        """By token, how often a message was delivered."""
        self.reports: Counter[tuple[str, str]] = Counter()
        """By token and type, how often they were sent."""
        self.settled: list[tuple[str, str]] = []
        """Token and how, in order."""

    async def until_given(self, job_type: str) -> str:
        """Return the token of a job of this type, once one is on its way to the worker."""

        async def is_given() -> bool:
            return job_type in self.tokens

        await until(is_given)
        return self.tokens[job_type]

    async def until_given_again(self, token: str) -> None:
        """Return once the message of a job is on its way to the worker for the second time."""

        async def is_given_again() -> bool:
            return self.deliveries[token] == 2

        await until(is_given_again)

    async def until_settled(self, token: str, how: str) -> None:
        """Return once the worker has settled a message so."""

        async def is_settled() -> bool:
            return (token, how) in self.settled

        await until(is_settled)

    def _on_event(self, _number: int, event: Event) -> bool:
        match event:
            case Delivered(properties=properties) if properties.type and properties.correlation_id:
                self.tokens[properties.type] = properties.correlation_id
                self.deliveries[properties.correlation_id] += 1
            case Settled(message=message, how=how):
                self.settled.append((message.properties.correlation_id or "", how))
            case Published(properties=properties) if properties.correlation_id:
                kind = properties.type or ""
                self.reports[properties.correlation_id, kind] += 1
                if kind == self._cut_at:
                    self._cut_at = None
                    return False
        return True


async def wait_in_the_worker(
    stage: Stage, language: Language, watch: Watch, seconds: float
) -> tuple[list[JobId], JobId, str]:
    """Return two jobs that take both of the worker's slots, one of another type, and its token."""
    running = [await stage.enqueue({"seconds": seconds}) for _ in range(2)]
    for job in running:
        await stage.runs(job)
    job_type = language.types[-1]
    waiting = await stage.queue.enqueue(job_type, ARGS[language.name])
    token = await watch.until_given(job_type)
    # The worker takes what comes in order: what it rejects is behind what it has noted.
    await stage.raw.publish(
        stage.raw.names.jobs,
        job_type,
        b"{}",
        type=job_type,
        correlation_id="later",
        headers=HEADERS | {"protocol": 2},
    )
    await watch.until_settled("later", "reject")
    return running, waiting, token


@every_language
async def test_what_waits_for_a_slot_runs_though_the_connection_is_lost(
    stage: Stage, language: Language
) -> None:
    async with Watch(stage.url) as watch, stage.worker(watch.url, concurrency=2):
        running, waiting, _ = await wait_in_the_worker(stage, language, watch, 6 * A_WHILE)
        watch.cut()
        statuses = await stage.queue.wait([*running, waiting], timeout=2 * PATIENCE)
        assert [status.state for status in statuses] == [State.FINISHED] * 3
        assert [status.attempt for status in statuses] == [1, 1, 1]


@every_one_of_level_2
async def test_what_was_handed_back_unbegun_is_not_handed_back_over_the_next_connection(
    stage: Stage, language: Language
) -> None:
    async with Watch(stage.url, cut_at="released") as watch:
        async with stage.worker(watch.url, concurrency=2):
            running, waiting, token = await wait_in_the_worker(stage, language, watch, FOREVER)
            await cancel_by_token(stage, language, token)
            await watch.until_given_again(token)
            for job in running:
                await stage.queue.cancel_job(job)
            status = await stage.ended(waiting)
        assert status.state is State.FINISHED
        assert watch.reports[token, "released"] == 1  # which the broker never got
        assert watch.reports[token, "finished"] == 1


@every_one_of_level_2
async def test_a_cancel_that_names_a_waiting_job_twice_hands_it_back_once(
    stage: Stage, language: Language
) -> None:
    async with Watch(stage.url) as watch, stage.worker(watch.url, concurrency=2):
        running, waiting, token = await wait_in_the_worker(stage, language, watch, FOREVER)
        await cancel_by_token(stage, language, token, token)
        await watch.until_settled(token, "ack")
        for job in running:
            await stage.queue.cancel_job(job)
        assert (await stage.ended(waiting)).state is State.FINISHED
        assert watch.reports[token, "released"] == 1


@every_one_of_level_2
async def test_a_failure_with_half_a_surrogate_pair_frees_its_slot(
    stage: Stage, language: Language
) -> None:
    async with Watch(stage.url) as watch, stage.worker(watch.url):
        await stage.works()
        await stage.raw.publish(  # the scheduler would refuse such args
            stage.raw.names.jobs,
            stage.job_type,
            rb'{"fail": "half \ud800 of it"}',
            type=stage.job_type,
            correlation_id="half",
            headers=HEADERS,
        )
        await watch.until_settled("half", "ack")
        assert watch.reports["half", "failed"] == 1
        await stage.works()


async def cancel_by_token(stage: Stage, language: Language, *tokens: str) -> None:
    """Tell the workers to stop jobs that the scheduler does not take for canceled."""
    control, body = stage.raw.names.control, json.dumps({"tokens": tokens}).encode()
    await stage.raw.publish(control, language.types[-1], body, type="cancel")
