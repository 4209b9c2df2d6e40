"""Waiting until jobs have ended, through restarts of the scheduler and the broker."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence

from broker_queue.errors import Unavailable
from broker_queue.job import JobId
from broker_queue.protocol.messages import Wait, Waited
from broker_queue.requests import Requests

log = logging.getLogger(__name__)

MAX_IDS = 10_000
"""Ids in one request."""

SHORTEST_WAIT, LONGEST_WAIT = 4.0, 30.0
"""Seconds of one request. A restarted scheduler has forgotten who waits, so each is asked again; as
most jobs are short, the first requests are, too."""

GRACE = 5.0
"""Seconds that an answer may be late before the request is sent again."""

PAUSE = 1.0
"""Seconds before a request that nobody could answer is sent again."""


async def wait_for_end(
    requests: Requests, ids: Sequence[JobId], *, timeout: float | None, patience: float
) -> None:
    """Return once all of these jobs have ended.

    Args:
        requests: connected.
        ids: of jobs.
        timeout: seconds; None waits as long as it takes.
        patience: seconds within which the scheduler must answer for the first time. Later, an
            outage is sat out.

    Raises:
        NotExist: there is no such job.
        TimeoutError: some have not ended in time.
        Unavailable: the scheduler did not answer at all.
    """
    loop = asyncio.get_running_loop()
    deadline = math.inf if timeout is None else loop.time() + timeout
    patience = patience if timeout is None else min(patience, timeout + GRACE)
    for start in range(0, len(ids), MAX_IDS):
        chunk: Sequence[str] = ids[start : start + MAX_IDS]
        remaining = await _still_open(requests, chunk, 0.0, patience)
        seconds = SHORTEST_WAIT
        while remaining:
            left = deadline - loop.time()
            if left <= 0:
                raise TimeoutError(_not_ended(remaining, len(ids), timeout or 0.0))
            seconds = min(seconds * 1.5, LONGEST_WAIT)
            remaining = await _wait(requests, remaining, min(seconds, left))


async def _wait(requests: Requests, ids: Sequence[str], seconds: float) -> Sequence[str]:
    try:
        return await _still_open(requests, ids, seconds, seconds + GRACE)
    except Unavailable as error:
        if not requests.is_open:
            raise
        log.warning("still waiting for %d jobs: %s", len(ids), error)
        await asyncio.sleep(min(PAUSE, seconds))
        return ids


async def _still_open(
    requests: Requests, ids: Sequence[str], seconds: float, patience: float
) -> Sequence[str]:
    request = Wait(jobs=list(ids), timeout=seconds)
    waited = await requests.ask("wait", request, Waited, timeout=patience)
    return waited.open


def _not_ended(remaining: Sequence[str], count: int, timeout: float) -> str:
    if count == 1:
        return f"job {remaining[0]} has not ended within {timeout:g} s"
    return f"at least {len(remaining)} of {count} jobs have not ended within {timeout:g} s"
