"""RabbitMQ in a container, through testcontainers (the extra ``docker``)."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

IMAGE = "rabbitmq:4.2-management"
AMQP_PORT = 5672
MANAGEMENT_PORT = 15672
ANSWER_TIMEOUT = 10


class ContainerError(Exception):
    """No container can be had; the text says why."""


def why_not() -> str | None:
    """Return why no container can be started, or None if an engine answers."""
    docker = shutil.which("docker")
    if docker is None:
        return "no docker command"
    try:
        done = subprocess.run(  # noqa: S603  # found on the path
            [docker, "version", "--format", "{{.Server.Version}}"],
            capture_output=True,
            text=True,
            timeout=ANSWER_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"docker does not answer: {error}"
    if done.returncode != 0:
        return f"no Docker engine answers: {' '.join(done.stderr.split())[:200]}"
    try:
        import testcontainers.community.rabbitmq  # noqa: F401
    except ImportError:
        return "the package testcontainers is missing: pip install 'broker-queue[docker]'"
    return None


@contextmanager
def container() -> Iterator[tuple[str, str]]:
    """Run a container; yields the AMQP URL and the management URL.

    Raises:
        ContainerError: the image is not there and cannot be pulled, or it does not start.
    """
    from testcontainers.community.rabbitmq import RabbitMqContainer

    running = RabbitMqContainer(IMAGE).with_exposed_ports(AMQP_PORT, MANAGEMENT_PORT)
    try:
        running.start()
    except Exception as error:  # docker, requests and pika each raise their own
        raise ContainerError(f"container {IMAGE}: {error}") from error
    try:
        host = running.get_container_host_ip()
        amqp = running.get_exposed_port(AMQP_PORT)
        management = running.get_exposed_port(MANAGEMENT_PORT)
        yield f"amqp://guest:guest@{host}:{amqp}", f"http://{host}:{management}/"
    finally:
        running.stop()
