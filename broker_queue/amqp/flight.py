"""Messages that were written together, until the broker has settled each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from aiormq.abc import DeliveredMessage

from broker_queue.amqp.failures import Unroutable, describe
from broker_queue.errors import BrokerQueueError, Unavailable

if TYPE_CHECKING:
    from broker_queue.amqp.channel import Channel, Outgoing

Settled: TypeAlias = Callable[[int, BrokerQueueError | None], None]
"""Called with the index of a message, and what went wrong with it: `Unroutable`, `Unavailable`."""


class Flight:
    """Waits for the confirms of messages without a task or a timer for each of them.

    Args:
        channel: with confirms; if it is lost, so is the session, and nothing is confirmed any more.
        messages: about to be written.
        settled: called once for each of them.
        timeout: seconds after which a broker that has not confirmed all of them is taken for gone.
    """

    def __init__(
        self, channel: Channel, messages: Sequence[Outgoing], settled: Settled, timeout: float
    ) -> None:
        self._channel = channel
        self._messages = messages
        self._settled = settled
        self._open: dict[int, asyncio.Future[Any]] = {}
        channel.session.lost.add_done_callback(self._on_lost)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(timeout, self._on_timeout, timeout)
        for index, message in enumerate(messages):
            confirm: asyncio.Future[Any] = loop.create_future()
            confirm.add_done_callback(partial(self._on_confirm, index))
            self._open[index] = confirm
            channel.expect(message, confirm)

    def _on_confirm(self, index: int, confirm: asyncio.Future[Any]) -> None:
        if self._open.pop(index, None) is None:
            return
        if not self._open:
            self._end()
        message = self._messages[index]
        self._channel.forget(message)
        error: BrokerQueueError | None = None
        if (problem := confirm.exception()) is not None:
            error = Unavailable(f"the broker did not take a message: {describe(problem)}")
        elif isinstance(confirm.result(), DeliveredMessage):
            error = Unroutable(
                f"no queue takes messages of exchange {message.exchange!r}, "
                f"routing key {message.routing_key!r}"
            )
        self._settled(index, error)

    def _on_lost(self, lost: asyncio.Future[str]) -> None:
        self._end()
        error = Unavailable(f"the connection was lost: {lost.result()}")
        left, self._open = list(self._open), {}
        for index in left:
            self._settled(index, error)

    def _on_timeout(self, timeout: float) -> None:
        self._channel.session.fail(f"the broker did not confirm messages in {timeout:g} s")

    def _end(self) -> None:
        self._timer.cancel()
        self._channel.session.lost.remove_done_callback(self._on_lost)
