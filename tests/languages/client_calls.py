"""What an example client does, told once for all languages."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from typing import NamedTuple
from uuid import uuid4

from broker_queue.job import State
from tests.languages.duties import Stage
from tests.support.waiting import PATIENCE


class Call(NamedTuple):
    """One run of a client."""

    code: int
    output: str
    errors: str

    @property
    def lines(self) -> list[str]:
        assert self.code == 0, self.errors
        return self.output.splitlines()


async def call(stage: Stage, command: Sequence[str], *arguments: str) -> Call:
    """Run a client to its end."""
    process = await asyncio.create_subprocess_exec(
        *command,
        *arguments,
        env={
            **os.environ,
            "BROKER_QUEUE_URL": stage.url,
            "BROKER_QUEUE_NAMESPACE": stage.namespace,
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE):
        output, errors = await process.communicate()
    assert process.returncode is not None
    return Call(process.returncode, output.decode(), errors.decode())


async def the_client_does_all_it_can(stage: Stage, client: Sequence[str], member: str) -> None:
    """Submit two jobs, the second with the result of the first as `member` of its args."""
    first, second = (await call(stage, client, "submit", "naïve text")).lines
    [shown] = (await call(stage, client, "status", second)).lines
    assert json.loads(shown)["id"] == second
    assert json.loads(shown)["state"] == "waiting"
    async with stage.worker():
        one, other = (await call(stage, client, "wait", first, second)).lines
    assert json.loads(other)["state"] == "finished"
    assert json.loads(other)["result"] == {member: json.loads(one)["result"]}

    first, second = (await call(stage, client, "submit", "never read")).lines
    [canceled] = (await call(stage, client, "cancel", first)).lines
    assert json.loads(canceled)["canceled"] == 1
    assert (await stage.queue.job_status(first)).state is State.CANCELED
    waited = await call(stage, client, "wait", first, second)
    assert waited.code == 1
    assert [json.loads(line)["state"] for line in waited.output.splitlines()] == [
        "canceled",
        "skipped",
    ]

    unknown = await call(stage, client, "status", str(uuid4()))
    assert unknown.code == 1
    assert unknown.errors.startswith("not_exist: ")
    assert "usage" in (await call(stage, client, "dance", first)).errors
