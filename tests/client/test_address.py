"""Where a program finds its scheduler: given, by the environment, by default."""

from __future__ import annotations

import pytest

from broker_queue.address import DEFAULT_NAMESPACE, DEFAULT_URL, resolve
from broker_queue.errors import ConfigurationError


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "NAMESPACE"):
        monkeypatch.delenv(f"BROKER_QUEUE_{name}", raising=False)


def test_what_is_given_counts_before_the_environment_and_that_before_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = resolve(None, None)
    assert (found.url, found.names.namespace) == (DEFAULT_URL, DEFAULT_NAMESPACE)
    monkeypatch.setenv("BROKER_QUEUE_URL", "amqp://environment/")
    monkeypatch.setenv("BROKER_QUEUE_NAMESPACE", "environment")
    found = resolve(None, None)
    assert (found.url, found.names.namespace) == ("amqp://environment", "environment")
    found = resolve("amqp://given/", "given")
    assert (found.url, found.names.namespace) == ("amqp://given", "given")


@pytest.mark.parametrize(("url", "namespace"), [("nonsense", None), (None, "no spaces")])
def test_what_cannot_work_is_refused_by_name(url: str | None, namespace: str | None) -> None:
    with pytest.raises(ConfigurationError, match=url or namespace):
        resolve(url, namespace)


@pytest.mark.parametrize("end", ["", "/", "/%2F", "/%2f"])
@pytest.mark.parametrize("query", ["", "?heartbeat=5"])
def test_every_way_of_writing_the_default_virtual_host_is_one_address(end: str, query: str) -> None:
    host = "amqp://user:pass%2Fword@host:5672"
    assert resolve(f"{host}{end}{query}", None) == resolve(f"{host}{query}", None)
    assert resolve(f"{host}{end}{query}", None).url == f"{host}{query}"


@pytest.mark.parametrize("path", ["/other", "/%2Fother", "/%2F%2F", "/other/", "/x%2F"])
def test_another_virtual_host_stays_as_it_was_written(path: str) -> None:
    assert resolve(f"amqp://host{path}", None).url == f"amqp://host{path}"
