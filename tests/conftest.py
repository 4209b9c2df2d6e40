"""Fixtures of all tests: one broker for the whole run, a namespace and a scheduler for each test."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from broker_queue import waiting
from broker_queue.client import JobQueue
from broker_queue.errors import Unavailable
from broker_queue.local_broker.finding import find_broker
from broker_queue.local_broker.node import PrivateNode, installed_server
from tests.support.cleaning import delete_namespace
from tests.support.raw import RawClient
from tests.support.schedulers import RunningScheduler
from tests.support.waiting import ANSWER_TIMEOUT, TIMEOUT_FACTOR


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Give slow machines the time they need, and hear Ctrl-C.

    A shell starts what it runs in the background with SIGINT ignored, which would pass to every
    command that a test starts and interrupts.
    """
    if config.getoption("timeout") is None:
        config.option.timeout = float(config.getini("timeout")) * TIMEOUT_FACTOR
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a scheduler time for the answer after which a wait is up."""
    monkeypatch.setattr(waiting, "GRACE", waiting.GRACE * TIMEOUT_FACTOR)


@pytest.fixture(scope="session")
def broker_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a real broker: the one in the environment, or one that is started."""
    try:
        with find_broker() as broker:
            yield broker.url
    except Unavailable as error:
        request.session.shouldstop = str(error)
        raise


@pytest.fixture
def server() -> Path:
    """The installed RabbitMQ server, for nodes of a test's own."""
    found = installed_server()
    if found is None:
        pytest.skip("no server is installed")
    return found


@pytest.fixture
def node(server: Path, tmp_path: Path) -> Iterator[PrivateNode]:
    """A node that this test alone uses, and may kill."""
    with PrivateNode(tmp_path / "node") as started:
        yield started


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Where the test's scheduler keeps its state."""
    return tmp_path / "scheduler.sqlite3"


@pytest.fixture
async def namespace(broker_url: str, database: Path) -> AsyncIterator[str]:
    """A namespace that no other test uses; its queues are deleted afterwards."""
    name = f"test-{uuid4().hex[:12]}"
    yield name
    await delete_namespace(broker_url, name, database)


@pytest.fixture
async def scheduler(
    broker_url: str, namespace: str, database: Path
) -> AsyncIterator[RunningScheduler]:
    """A scheduler that runs, in a thread of this process."""
    async with RunningScheduler(url=broker_url, namespace=namespace, database=database) as running:
        yield running


@pytest.fixture
async def queue(
    scheduler: RunningScheduler, broker_url: str, namespace: str
) -> AsyncIterator[JobQueue]:
    """A connected client of the test's scheduler."""
    async with JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as client:
        yield client


@pytest.fixture
async def raw(
    scheduler: RunningScheduler, broker_url: str, namespace: str
) -> AsyncIterator[RawClient]:
    """A client that speaks the protocol by hand."""
    async with RawClient(broker_url, namespace) as client:
        yield client
