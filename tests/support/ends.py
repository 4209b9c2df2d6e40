"""Jobs that have ended in every way, for tests of what comes after."""

from __future__ import annotations

from broker_queue.client import JobQueue
from broker_queue.job import JobId, State
from tests.support.raw import RawClient


async def ended_job(queue: JobQueue, raw: RawClient, state: State) -> JobId:
    """Return a job that is in this final state."""
    match state:
        case State.FINISHED:
            job = await queue.enqueue(None)
        case State.FAILED:
            job = await queue.enqueue("to-fail")
            delivery = await raw.take("to-fail")
            failed = {"code": "broken", "message": "on purpose"}
            assert (await raw.report("failed", delivery.correlation_id, failed)).type == "accepted"
            await delivery.acknowledge()
        case State.CANCELED:
            job = await queue.enqueue("to-cancel", delay=60)
            await queue.cancel_job(job, reason="on purpose")
        case _:
            job = await queue.enqueue(
                None, dependencies=[await ended_job(queue, raw, State.FAILED)]
            )
    assert (await queue.job_status(job)).state is state
    return job


async def finish(raw: RawClient, job_type: str, result: bytes = b"null") -> str:
    """Take the next job of a type, finish it, and return its id."""
    delivery = await raw.take(job_type)
    assert (await raw.report("finished", delivery.correlation_id, result)).type == "accepted"
    await delivery.acknowledge()
    return delivery.message_id or ""


async def fail(raw: RawClient, job_type: str, *, retry: bool = False) -> str:
    """Take the next job of a type, fail it, and return its id."""
    delivery = await raw.take(job_type)
    failed = {"code": "broken", "message": "on purpose", "retry": retry}
    assert (await raw.report("failed", delivery.correlation_id, failed)).type == "accepted"
    await delivery.acknowledge()
    return delivery.message_id or ""
