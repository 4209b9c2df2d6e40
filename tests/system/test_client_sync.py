"""The blocking client: the same calls, documentation and errors as the asyncio one."""

from __future__ import annotations

import asyncio
import inspect
import signal
import sys
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from broker_queue import Graph, JobQueue, NotExist, State, Unavailable, sync
from broker_queue.graph import new_job_id
from tests.support.schedulers import RunningScheduler
from tests.support.waiting import ANSWER_TIMEOUT, PATIENCE, until

METHODS = sorted(name for name in vars(JobQueue) if not name.startswith("_"))


def test_both_clients_have_the_same_methods() -> None:
    assert sorted(name for name in vars(sync.JobQueue) if not name.startswith("_")) == METHODS


@pytest.mark.parametrize("name", [*METHODS, "__init__"])
def test_a_method_takes_the_same_parameters_and_says_the_same(name: str) -> None:
    there, here = getattr(JobQueue, name), getattr(sync.JobQueue, name)
    assert inspect.signature(here).parameters == inspect.signature(there).parameters
    assert inspect.getdoc(here) == inspect.getdoc(there)
    if name not in ("watch", "__init__"):
        assert (
            inspect.signature(here).return_annotation == inspect.signature(there).return_annotation
        )


def arguments_for(method: Callable[..., Any]) -> dict[str, Any]:
    """Return arguments that differ from each other and from every default."""
    found: dict[str, Any] = {}
    for name, parameter in list(inspect.signature(method).parameters.items())[1:]:
        match parameter.kind:
            case inspect.Parameter.VAR_POSITIONAL:
                found[name] = (f"one of {name}", f"another of {name}")
            case inspect.Parameter.VAR_KEYWORD:
                found[name] = {"priority": 9, "delay": 1}
            case _:
                found[name] = object()
    return found


@pytest.mark.parametrize("name", METHODS)
def test_a_method_hands_every_argument_on_and_the_answer_back(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = getattr(JobQueue, name)
    wanted = arguments_for(method)
    seen: list[dict[str, Any]] = []
    answer = object()

    def record(*given: Any, **named: Any) -> None:
        bound = inspect.signature(method).bind(*given, **named)
        bound.apply_defaults()
        bound.arguments.pop("self")
        seen.append(dict(bound.arguments))

    async def answers(*given: Any, **named: Any) -> Any:
        record(*given, **named)
        return answer

    async def watches(*given: Any, **named: Any) -> AsyncIterator[Any]:
        record(*given, **named)
        yield answer

    for other in ("connect", "close"):
        monkeypatch.setattr(JobQueue, other, lambda _queue: asyncio.sleep(0))
    monkeypatch.setattr(JobQueue, name, watches if name == "watch" else answers)
    call = inspect.BoundArguments(inspect.signature(method), OrderedDict(self=None) | wanted)
    queue = sync.JobQueue("amqp://nowhere/")
    if name != "connect":
        queue.connect()
    try:
        returned = getattr(queue, name)(*call.args[1:], **call.kwargs)
        if name == "watch":
            returned = next(returned)
    finally:
        queue.close()
    assert seen[:1] == [wanted]
    says_nothing = inspect.signature(method).return_annotation == "None"
    assert returned is (None if says_nothing else answer)


def test_both_clients_document_their_settings_alike() -> None:
    def settings(cls: type) -> str:
        return (inspect.getdoc(cls) or "").partition("Args:")[2]

    assert settings(sync.JobQueue) == settings(JobQueue)


async def test_a_script_goes_from_enqueue_to_result(
    scheduler: RunningScheduler, broker_url: str, namespace: str
) -> None:
    def script() -> list[str]:
        with sync.JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue:
            graph = Graph()
            first = graph.add("a", {"x": 1})
            graph.add("b", {"of": first.result["y"]})
            queue.submit(graph)
            states = []
            for event in queue.watch(graph=graph):
                states.append(event.state.value)
                if event.state is State.QUEUED:
                    job = queue.dequeue(event.type or "", timeout=PATIENCE)
                    queue.finish_job(job, {"y": job.args})
            assert queue.result(graph.jobs[1]) == {"y": {"of": {"x": 1}}}
            assert [status.state for status in queue.wait(graph)] == [State.FINISHED] * 2
            return states

    states = await asyncio.to_thread(script)

    assert states == ["queued", "waiting", "running", "finished", "queued", "running", "finished"]


async def test_errors_are_raised_where_the_call_was_made(
    scheduler: RunningScheduler, broker_url: str, namespace: str
) -> None:
    def script() -> None:
        with sync.JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue:
            with pytest.raises(NotExist):
                queue.job_status(new_job_id())
            with pytest.raises(TimeoutError):
                queue.wait(queue.enqueue("a"), timeout=0)
            with pytest.raises(NotExist):
                list(queue.watch(new_job_id()))

    await asyncio.to_thread(script)


async def test_many_threads_share_one_client(
    scheduler: RunningScheduler, broker_url: str, namespace: str
) -> None:
    def script() -> None:
        with sync.JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue:
            with ThreadPoolExecutor(8) as pool:
                jobs = list(pool.map(lambda number: queue.enqueue("a", number), range(100)))
            args = [status.args for status in queue.job_statuses(jobs, args=True)]
            assert args == list(range(100))

    await asyncio.to_thread(script)


INTERRUPTED = """
import sys
from broker_queue.sync import JobQueue
with JobQueue(sys.argv[1], namespace=sys.argv[2]) as queue:
    try:
        queue.dequeue("a")
    except KeyboardInterrupt:
        print("interrupted", len(queue.list().jobs))
"""


async def test_an_interrupted_dequeue_holds_no_job_back(
    queue: JobQueue, broker_url: str, namespace: str
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", INTERRUPTED, broker_url, namespace, stdout=asyncio.subprocess.PIPE
    )

    async def waits() -> bool:
        return bool(await queue.workers())

    await until(waits)
    process.send_signal(signal.SIGINT)
    said, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    job = await queue.enqueue("a")

    assert said == b"interrupted 0\n"
    assert process.returncode == 0
    assert (await queue.dequeue("a", timeout=PATIENCE)).id == job


def test_a_client_that_cannot_connect_leaves_no_thread() -> None:
    before = threading.active_count()
    queue = sync.JobQueue("amqp://127.0.0.1:1/")
    with pytest.raises(Unavailable):
        queue.connect()
    assert threading.active_count() == before
    with pytest.raises(Unavailable, match="not connected"):
        queue.workers()


def test_a_client_that_cannot_be_closed_in_order_leaves_no_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(_queue: JobQueue) -> None:
        raise ZeroDivisionError

    async def succeed(_queue: JobQueue) -> None: ...

    before = threading.active_count()
    monkeypatch.setattr(JobQueue, "connect", succeed)
    monkeypatch.setattr(JobQueue, "close", fail)
    queue = sync.JobQueue()
    queue.connect()
    with pytest.raises(ZeroDivisionError):
        queue.close()
    assert threading.active_count() == before
    queue.close()
