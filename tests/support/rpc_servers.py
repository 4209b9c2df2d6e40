"""Servers in the shape of RabbitMQ's RPC tutorial, written with `pika`, right or wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeAlias

import pika
from pika.exceptions import ChannelClosedByBroker, ConnectionClosedByBroker

from tests.support.waiting import PATIENCE

OnRequest: TypeAlias = Callable[[Any, Any, Any, bytes], None]
"""The tutorial's callback: channel, method, properties, body."""

NOT_FOUND = 404
INTERNAL_ERROR = 541


class RpcServer:
    """A server in a thread, for the length of a block; at its end the connection is closed.

    Args:
        url: of the broker.
        queue: that it consumes; it tries again while there is none, unless it declares it.
        on_request: called for each message.
        auto_ack: the broker forgets each message as soon as it has sent it.
        declare: what it does before it consumes; the block begins once it has done both.
    """

    def __init__(
        self,
        url: str,
        queue: str,
        on_request: OnRequest,
        *,
        auto_ack: bool = False,
        declare: Callable[[Any], None] | None = None,
    ) -> None:
        self._queue = queue
        self._on_request = on_request
        self._auto_ack = auto_ack
        self._declare = declare
        self._parameters = pika.URLParameters(url)
        self._stopped = threading.Event()
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.seen: list[bytes] = []
        """The bodies of the messages that it was given."""
        self.error: BaseException | None = None

    def __enter__(self) -> RpcServer:
        self._thread.start()
        if self._declare is not None:
            self._begun.wait(PATIENCE)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the server does not stop"
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                self._serve()
        except BaseException as error:  # raised again where the test stops it
            self.error = error
        finally:
            self._begun.set()

    def _serve(self) -> None:
        """Serve on one connection.

        A quorum queue that was just made may cut off who consumes it too early: then connect again.
        """
        connection = pika.BlockingConnection(self._parameters)
        try:
            self._consume(connection)
            while not self._stopped.is_set():
                connection.process_data_events(time_limit=0.05)
        except ConnectionClosedByBroker as error:
            if error.reply_code != INTERNAL_ERROR:
                raise
        finally:
            if connection.is_open:
                connection.close()

    def _consume(self, connection: Any) -> None:
        while not self._stopped.is_set():
            channel = connection.channel()
            if self._declare is not None:
                self._declare(channel)
            channel.basic_qos(prefetch_count=1)
            try:
                channel.basic_consume(self._queue, self._take, auto_ack=self._auto_ack)
            except ChannelClosedByBroker as error:
                if error.reply_code != NOT_FOUND:
                    raise
                time.sleep(0.05)
            else:
                self._begun.set()
                return

    def _take(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        self.seen.append(body)
        self._on_request(channel, method, properties, body)


def answer(channel: Any, properties: Any, body: str | bytes, **more: Any) -> None:
    """Publish a reply as the tutorial does; `more` are other properties."""
    given = {"correlation_id": properties.correlation_id, **more}
    channel.basic_publish(
        exchange="",
        routing_key=properties.reply_to,
        properties=pika.BasicProperties(**given),
        body=body,
    )
