"""Holding a job by lease: for jobs that run longer than the broker waits for an acknowledgement.

RabbitMQ takes back a message that is not acknowledged in time (its ``consumer_timeout``, 30 minutes
where nobody changed it). A worker that holds a lease has acknowledged the message and is watched by
the scheduler instead.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from broker_queue.errors import Unavailable
from broker_queue.job import Verdict
from broker_queue.protocol.messages import encode
from broker_queue.protocol.reports import Lease
from broker_queue.requests import Requests

log = logging.getLogger(__name__)

ANSWER_TIMEOUT = 10.0
"""Seconds for the answer to a lease or heartbeat; then it is asked again."""

PAUSE = 1.0
"""Seconds before it is asked again that nobody answered."""

HEARTBEATS = 3
"""In the time of one lease: two of them may be lost."""


async def keep_lease(
    requests: Requests,
    token: str,
    worker: str,
    *,
    after: float,
    granted: Callable[[], Awaitable[None]],
) -> Verdict:
    """Ask for a lease `after` some seconds and keep it until this is canceled.

    Args:
        requests: reports go out there.
        token: of the hand-over.
        worker: name of the worker.
        after: seconds that the job has run by then.
        granted: called once; from then on the broker need not hold the message.

    Returns:
        Why the job is to be stopped: it is canceled, or somebody else's by now.
    """
    await asyncio.sleep(after)
    body = encode(Lease(worker=worker))
    kind = "lease"
    while True:
        try:
            found = await requests.report(kind, token, body, timeout=ANSWER_TIMEOUT)
        except Unavailable as error:
            log.debug("%s was not answered: %s", kind, error)
            await asyncio.sleep(PAUSE * random.uniform(0.5, 1.5))  # noqa: S311  # jitter, no secret
            continue
        if found.verdict is not Verdict.ACCEPTED:
            return found.verdict
        if kind == "lease":
            await granted()
            kind = "heartbeat"
        await asyncio.sleep((found.lease or 60.0) / HEARTBEATS)
