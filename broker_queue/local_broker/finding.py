"""Finding a broker: a given URL, the installed server, a container, the distribution's package."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from broker_queue.address import URL_VARIABLE
from broker_queue.amqp.connection import parse_url
from broker_queue.amqp.url import canonical_url
from broker_queue.errors import Unavailable
from broker_queue.local_broker import container, debian
from broker_queue.local_broker.handshake import problem_with
from broker_queue.local_broker.node import NodeError, PrivateNode, installed_server

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker that answers."""

    url: str
    description: str
    management_url: str | None = None


class NoBroker(Unavailable):
    """No broker was found and none could be started; the text says what was tried, and the way out.

    Args:
        tried: each way and why it did not work.
    """

    def __init__(self, tried: list[tuple[str, str]]) -> None:
        listed = "\n".join(f"  - {way}: {why}" for way, why in tried)
        super().__init__(
            f"no RabbitMQ was found, and none could be started:\n{listed}\n"
            "Do one of these, then try again:\n"
            f"  - name a running broker: export {URL_VARIABLE}=amqp://user:password@host:5672\n"
            "  - install the server: sudo apt-get install rabbitmq-server, "
            "or brew install rabbitmq\n"
            "  - start Docker, and pip install 'broker-queue[docker]'"
        )


def to_stderr(text: str) -> None:
    """Tell a person what is going on."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201  # the default way to tell a person


@contextmanager
def find_broker(
    *,
    url: str | None = None,
    folder: Path | None = None,
    management: bool = False,
    progress: Progress = to_stderr,
) -> Iterator[Broker]:
    """Find or start a broker for the length of the block; what was started is stopped again.

    Args:
        url: of the one to be used; else the environment's ``BROKER_QUEUE_URL``.
        folder: where a private node keeps its data; a temporary one when left out.
        management: ask for the management page too.
        progress: called with a line about each step that takes a while.

    Raises:
        NoBroker: nothing worked.
        Unavailable: the URL that was given does not answer; nothing else is tried.
    """
    given = url or os.environ.get(URL_VARIABLE)
    if given:
        source = "the URL that was given" if url else URL_VARIABLE
        problem = problem_with(given)
        if problem is not None:
            shown = parse_url(given).with_password(None)
            raise Unavailable(f"no broker answers at {shown} ({source}): {problem}")
        yield Broker(canonical_url(given), f"the broker of {source}")
        return
    tried: list[tuple[str, str]] = [(URL_VARIABLE, "not set")]
    with debian.one_at_a_time():
        if installed_server() is None and not _container_is_possible(tried):
            _install(tried, progress)
    if installed_server() is not None:
        with _private_node(folder, management=management, progress=progress) as broker:
            yield broker
        return
    progress(f"starting RabbitMQ in a container ({container.IMAGE})")
    try:
        with container.container() as (url, management_url):
            yield Broker(url, f"a container of {container.IMAGE}", management_url)
    except container.ContainerError as error:
        raise NoBroker([*tried, ("Docker", str(error))]) from error


@contextmanager
def _private_node(folder: Path | None, *, management: bool, progress: Progress) -> Iterator[Broker]:
    progress("starting a private RabbitMQ node")
    try:
        node = PrivateNode(folder, management=management)
        node.__enter__()
    except NodeError as error:
        raise NoBroker([("the installed rabbitmq-server", str(error))]) from error
    try:
        description = f"a private RabbitMQ node in {node.folder}"
        yield Broker(node.url, description, node.management_url)
    finally:
        node.__exit__(None, None, None)


def _container_is_possible(tried: list[tuple[str, str]]) -> bool:
    tried.append(("the installed rabbitmq-server", "none is installed"))
    problem = container.why_not()
    if problem is not None:
        tried.append(("Docker", problem))
    return problem is None


def _install(tried: list[tuple[str, str]], progress: Progress) -> None:
    """Install the server.

    Raises:
        NoBroker: it cannot be installed.
    """
    problem = debian.why_not() or debian.install(progress)
    if problem is None and installed_server() is None:
        problem = "the package was installed, but there is no rabbitmq-server"
    if problem is not None:
        raise NoBroker([*tried, ("the distribution's package", problem)])
