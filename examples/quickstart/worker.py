"""Run it with: broker-queue worker examples.quickstart.worker:worker."""

from pydantic import BaseModel

from broker_queue import Worker

worker = Worker()


class Fetch(BaseModel):
    url: str


class Build(BaseModel):
    source: str


@worker.job()
async def fetch(args: Fetch) -> dict[str, str]:
    return {"path": "/tmp/" + args.url.rpartition("/")[2]}


@worker.job()
async def build(args: Build) -> str:
    return f"built from {args.source}"


@worker.job()
async def notify(args: dict[str, str]) -> None:
    print(args["text"])
