"""A worker made with this package, whose jobs keep the contract of a rehearsal job."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from broker_queue import Job, Worker

worker = Worker(concurrency=4)


@worker.job("rehearsal")
async def rehearse(args: dict[str, Any], job: Job) -> Any:
    await asyncio.sleep(args.get("seconds", 0))
    if "fail" in args:
        raise RuntimeError(args["fail"])
    return args


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    worker.run_forever()
