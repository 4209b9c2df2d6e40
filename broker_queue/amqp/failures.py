"""What the client library raises, and what the rest of the program sees of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiormq

from broker_queue.errors import BrokerQueueError, Unavailable

CALL_TIMEOUT = 20.0
"""Seconds for any one broker call: a quorum queue without majority answers never."""

BROKER_ERRORS = (aiormq.exceptions.AMQPError, ConnectionError, OSError, RuntimeError, TimeoutError)
"""What the client library raises when the broker or the network fails; RuntimeError is its
ChannelInvalidStateError."""

NOT_FOUND = aiormq.exceptions.ChannelNotFoundEntity
"""What is asked for is not there; the broker closes the channel over that."""


def is_broker_failure(error: BaseException) -> bool:
    """Whether the broker or the network failed.

    What is under way when a connection is lost, the library ends with a bare `Exception`.
    """
    return isinstance(error, BROKER_ERRORS) or type(error) is Exception


class Unroutable(BrokerQueueError):
    """A mandatory message came back: no queue is bound to its routing key, or no such exchange."""


@asynccontextmanager
async def as_unavailable(failure: str) -> AsyncIterator[None]:
    """Turn what the client library raises into `Unavailable`, which says `failure` and why."""
    try:
        yield
    except Exception as error:
        if not is_broker_failure(error):
            raise
        raise Unavailable(f"{failure}: {describe(error)}") from error
    except asyncio.CancelledError as error:
        raise_if_not_own(error)
        raise Unavailable(f"{failure}: the connection was lost") from error


def describe(error: BaseException | None) -> str:
    """Return one line about an error of the client library, never empty."""
    if error is None:
        return "closed"
    text = str(error).strip() or type(error).__name__
    if isinstance(error, TimeoutError) and not str(error).strip():
        text = "no answer in time"
    if isinstance(error, asyncio.CancelledError):  # the library's, when heartbeats are missing
        text = "the broker fell silent"
    return " ".join(text.split())


def raise_if_not_own(error: asyncio.CancelledError) -> None:
    """Re-raise a cancellation that was meant for this task.

    The client library also lets a lost connection appear as CancelledError in tasks that nobody
    canceled; those have no pending cancel request.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise error
