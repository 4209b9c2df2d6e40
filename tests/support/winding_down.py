"""Stopping everybody once nothing is left to do, and what lies in the queues then."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from tests.support.raw import RawClient
from tests.support.waiting import until


async def wind_down(
    raw: RawClient,
    jobs: Sequence[str],
    stop_workers: Callable[[], Awaitable[None]],
    stop_schedulers: Callable[[], Awaitable[None]],
) -> list[str]:
    """Stop workers, then schedulers, each once its queues are empty; return what is left.

    Args:
        raw: a client of the namespace.
        jobs: names of the job queues. Second copies of messages may still lie there.
        stop_workers: stops them in order.
        stop_schedulers: likewise.
    """
    own = [raw.names.requests, raw.names.reports, raw.names.dead]
    for queues, stop in ((jobs, stop_workers), (own, stop_schedulers)):
        with suppress(TimeoutError):  # what lies there then is counted at the end
            await _until_empty(raw, queues)
        await stop()
    counts = {queue: await raw.count(queue) for queue in (*jobs, *own, raw.names.parked)}
    return [f"{count} in {queue}" for queue, count in counts.items() if count]


async def _until_empty(raw: RawClient, queues: Sequence[str]) -> None:
    async def are_empty() -> bool:
        return not any([await raw.count(queue) for queue in queues])

    await until(are_empty)
