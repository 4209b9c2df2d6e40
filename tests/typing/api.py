"""The documented ways to use the client, graphs and the worker; type-checked, never run."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel

from broker_queue import (
    DequeuedJob,
    Graph,
    Job,
    JobError,
    JobHandle,
    JobId,
    JobOptions,
    JobQueue,
    JobStatus,
    ResultReference,
    State,
    Worker,
    sync,
)

SHARED: JobOptions = {"max_attempts": 3, "channel": "acme"}


class Args(BaseModel):
    source: str


class Result(BaseModel):
    image: str


worker = Worker("amqp://localhost/", concurrency=8, grace=timedelta(seconds=5))


@worker.job("build")
async def build(args: Args, job: Job) -> Result:
    await job.progress(0.5, "compiling")
    part: JobHandle = job.add("test", {"image": job.result["image"]}, dependencies=[job.id])
    job.add("test", None, [part], prority=9)  # type: ignore[call-arg]  # misspelt
    job.extend(part, references={"/image": job.result["image"]})
    if not args.source:
        raise JobError("no source", code="empty", retry=False)
    return Result(image=args.source)


@worker.job()
def resize(path: str, width: int = 100) -> dict[str, int]:
    return {path: width}


async def client() -> None:
    graph = Graph("nightly")
    source: JobHandle = graph.add("fetch", {"url": "…"}, max_attempts=3, timeout=60)
    path: ResultReference = source.result["path"]
    image = graph.add("build", {"source": path}, delay=timedelta(minutes=1))
    graph.add("notify", dependencies=[image.failed, source.ended])
    graph.milestone([source, image], name="done")
    graph.add("deploy", None, [image], **SHARED)
    graph.add("deploy", max_attempt=3)  # type: ignore[call-arg]  # misspelt
    async with JobQueue() as queue:
        await queue.submit(graph)
        one: JobStatus = await queue.wait(image)
        many: list[JobStatus] = await queue.wait([source, image], timeout=10)
        typed: Result = await queue.result(image, model=Result)
        job: JobId = await queue.enqueue("build", Args(source="x"), dependencies=[source])
        await queue.enqueue("build", None, [job], backoff=timedelta(seconds=1), traceparent="00-…")
        await queue.enqueue("build", prority=9)  # type: ignore[call-arg]  # misspelt
        await queue.enqueue("build", priority="9")  # type: ignore[arg-type]
        taken: DequeuedJob = await queue.dequeue(["build"])
        await queue.finish_job(taken, {"image": "x"})
        copies: dict[JobId, JobId] = await queue.retry(job)
        assert one.state is State.FINISHED
        assert len(many) == len(copies)
        assert typed.image


def blocking() -> None:
    with sync.JobQueue() as queue:
        job: JobId = queue.enqueue("build", {"source": "x"})
        queue.enqueue("build", prority=9)  # type: ignore[call-arg]  # misspelt
        status: JobStatus = queue.wait(job)
        assert status.is_final
