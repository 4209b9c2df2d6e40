"""Whether something at an address speaks AMQP: the first frame of the handshake tells."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable

from broker_queue.amqp.connection import parse_url

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
METHOD_FRAME = 1


def problem_with(url: str, timeout: float = 5.0) -> str | None:
    """Return why no broker answers at `url` within `timeout` seconds, or None if one does.

    Raises:
        ConfigurationError: no broker URL.
    """
    parsed = parse_url(url)
    host = parsed.host or "localhost"
    is_tls = parsed.scheme == "amqps"
    port = parsed.port or (5671 if is_tls else 5672)
    try:
        with socket.create_connection((host, port), timeout) as plain:
            if is_tls:
                context = ssl.create_default_context()
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # a probe only
                with context.wrap_socket(plain) as secure:
                    return _greet(secure)
            return _greet(plain)
    except OSError as error:
        return f"{host}:{port}: {error.strerror or error}"


def wait_until_it_answers(url: str, timeout: float, is_alive: Callable[[], bool]) -> str | None:
    """Return None once a broker answers, or the last problem after `timeout` seconds.

    Args:
        url: of the broker.
        timeout: in seconds.
        is_alive: callable; when it says no, waiting makes no sense any more.
    """
    deadline = time.monotonic() + timeout
    while True:
        problem = problem_with(url, timeout=2.0)
        if problem is None or time.monotonic() > deadline or not is_alive():
            return problem
        time.sleep(0.05)


def _greet(connection: socket.socket) -> str | None:
    connection.sendall(PROTOCOL_HEADER)
    first = connection.recv(1)
    if first == bytes([METHOD_FRAME]):
        return None
    return "it closed the connection" if not first else "something that does not speak AMQP 0-9-1"
