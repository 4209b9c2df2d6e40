"""Which broker is used, and what is said when there is none."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest

from broker_queue.address import URL_VARIABLE
from broker_queue.errors import Unavailable
from broker_queue.local_broker import container, debian, finding
from broker_queue.local_broker.finding import Broker, NoBroker, find_broker
from broker_queue.local_broker.node import PrivateNode
from tests.support.waiting import PATIENCE


def found() -> Broker:
    with find_broker(progress=lambda _text: None) as broker:
        return broker


def nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    monkeypatch.setattr(finding, "installed_server", lambda: None)
    monkeypatch.setattr(container, "why_not", lambda: "docker is not installed")
    monkeypatch.setattr(debian, "why_not", lambda: "only root can install packages")


def test_the_url_in_the_environment_comes_first(
    monkeypatch: pytest.MonkeyPatch, broker_url: str
) -> None:
    nothing(monkeypatch)
    monkeypatch.setenv(URL_VARIABLE, broker_url)
    assert found() == Broker(broker_url, f"the broker of {URL_VARIABLE}")


def test_a_url_that_does_not_answer_is_final(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        monkeypatch.setenv(URL_VARIABLE, f"amqp://guest:secret@127.0.0.1:{port}/")
        with pytest.raises(
            Unavailable, match=f"127.0.0.1:{port}: Connection refused"
        ) as from_variable:
            found()
        with (
            pytest.raises(Unavailable, match=r"\(the URL that was given\)"),
            find_broker(url=f"amqp://127.0.0.1:{port}/"),
        ):
            pass
    assert not isinstance(from_variable.value, NoBroker), "nothing else is tried"
    assert "secret" not in str(from_variable.value)


def test_something_else_at_the_url_is_recognized(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv(URL_VARIABLE, f"amqp://127.0.0.1:{server.getsockname()[1]}/")

        def greet() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"220 mail\r\n")

        with (
            in_background(greet),
            pytest.raises(Unavailable, match="does not speak AMQP 0-9-1"),
        ):
            found()


def test_where_nothing_works_one_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing(monkeypatch)
    with pytest.raises(NoBroker) as caught:
        found()
    text = str(caught.value)
    for part in (
        "BROKER_QUEUE_URL: not set",
        "the installed rabbitmq-server: none is installed",
        "Docker: docker is not installed",
        "the distribution's package: only root can install packages",
        "export BROKER_QUEUE_URL=amqp://",
        "apt-get install rabbitmq-server",
        "pip install 'broker-queue[docker]'",
    ):
        assert part in text


def test_an_install_that_fails_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nothing(monkeypatch)
    monkeypatch.setattr(debian, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(debian, "why_not", lambda: None)
    monkeypatch.setattr(debian, "install", lambda _progress: "apt-get: no space left")
    with pytest.raises(NoBroker, match="no space left"):
        found()


def test_of_two_processes_one_installs_and_the_other_waits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nothing(monkeypatch)
    monkeypatch.setattr(debian, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(debian, "why_not", lambda: None)
    monkeypatch.setattr(PrivateNode, "__init__", lambda *_a, **_k: None)
    monkeypatch.setattr(PrivateNode, "__enter__", does_not_start)
    installing, second_looks = Event(), Event()
    installed: list[str] = []

    def install(_progress: Callable[[str], None]) -> None:
        installing.set()
        second_looks.wait(PATIENCE)
        installed.append("rabbitmq-server")

    monkeypatch.setattr(debian, "install", install)
    monkeypatch.setattr(finding, "installed_server", lambda: installed[0] if installed else None)

    def look() -> None:
        with pytest.raises(NoBroker, match="the port is taken"):
            found()

    with in_background(look):
        assert installing.wait(PATIENCE)
        with in_background(look):
            second_looks.set()
    assert installed == ["rabbitmq-server"]


def test_a_container_is_used_where_docker_works(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing(monkeypatch)
    monkeypatch.setattr(container, "why_not", lambda: None)

    def fails() -> None:
        raise container.ContainerError("the image cannot be pulled")

    monkeypatch.setattr(container, "container", fails)
    with pytest.raises(NoBroker, match="Docker: the image cannot be pulled"):
        found()


def test_an_installed_server_that_does_not_start_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    monkeypatch.setattr(finding, "installed_server", lambda: "/usr/sbin/rabbitmq-server")
    monkeypatch.setattr(PrivateNode, "__init__", lambda *_a, **_k: None)
    monkeypatch.setattr(PrivateNode, "__enter__", does_not_start)
    with pytest.raises(NoBroker, match="the installed rabbitmq-server: the port is taken"):
        found()


def does_not_start(_node: PrivateNode) -> PrivateNode:
    raise finding.NodeError("the port is taken")


@contextmanager
def in_background(work: Callable[[], None]) -> Iterator[None]:
    thread = Thread(target=work)
    thread.start()
    yield
    thread.join()
