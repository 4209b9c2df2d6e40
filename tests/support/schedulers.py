"""Schedulers for tests: in a thread (quick), or as a process (to be killed)."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any

from broker_queue.client import JobQueue
from broker_queue.errors import Unavailable
from scheduler.service import Service
from scheduler.settings import Settings
from tests.support.standstill import bring_to_a_standstill
from tests.support.waiting import TIMEOUT_FACTOR, until

START_TIMEOUT = 30.0 * TIMEOUT_FACTOR


class RunningScheduler:
    """A scheduler with its own event loop in a thread, as good as a process for most tests.

    Args:
        url: of the broker.
        namespace: of its queues.
        database: path of its file.
        settings: any others.
    """

    def __init__(self, *, url: str, namespace: str, database: Path, **settings: Any) -> None:
        self.settings = Settings(url=url, namespace=namespace, database=str(database), **settings)
        self._service: Service | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.error: BaseException | None = None

    async def start(self) -> None:
        """Start it and wait until it answers."""
        self._thread.start()
        await asyncio.to_thread(self._begun.wait, START_TIMEOUT)
        await wait_until_it_answers(self.settings.url, self.settings.namespace)

    async def stop(self) -> None:
        """Stop it in order; raises what made it fail, if anything did."""
        if self._loop is not None and self._service is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._service.stop)
        await asyncio.to_thread(self._thread.join, START_TIMEOUT)
        assert not self._thread.is_alive(), "the scheduler does not stop"
        if self.error is not None:
            raise self.error

    async def __aenter__(self) -> RunningScheduler:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    def _run(self) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            self._service = Service(self.settings)
            self._begun.set()
            await self._service.run()

        try:
            asyncio.run(serve())
        except BaseException as error:  # raised again where the test stops it
            self.error = error


class SchedulerProcess:
    """A scheduler as its own process."""

    def __init__(self, *, url: str, namespace: str, database: Path, **settings: Any) -> None:
        given = {"url": url, "namespace": namespace, "database": database, **settings}
        self._environment = os.environ | {
            f"BROKER_QUEUE_{name.upper()}": str(value) for name, value in given.items()
        }
        self._url, self._namespace = url, namespace
        self.process: asyncio.subprocess.Process | None = None
        self._log: list[str] = []
        self._reading: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def said(self, text: str) -> list[str]:
        """Return the lines of its log that have `text`."""
        return [line for line in self._log if text in line]

    async def start(self, *, wait: bool = True, command: Sequence[str] = ()) -> None:
        """Start it, by `command`, and with `wait`, wait until it answers."""
        self.process = await asyncio.create_subprocess_exec(
            *command,
            sys.executable,
            "-m",
            "scheduler",
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        self._reading = asyncio.create_task(self._read_log(self.process))
        if wait:
            await wait_until_it_answers(self._url, self._namespace)

    async def says(self, text: str) -> None:
        """Return once its log has `text`."""

        async def is_said() -> bool:
            return bool(self.said(text))

        await until(is_said)

    async def pause(self) -> None:
        """Stop it by SIGSTOP, outside of any transaction, until `go_on`."""
        assert self.process is not None

        async def is_outside() -> bool:
            assert self.process is not None
            await bring_to_a_standstill(self.process.pid)
            if not is_locked(self._environment["BROKER_QUEUE_DATABASE"]):
                return True
            self.go_on()
            return False

        await until(is_outside)

    def go_on(self) -> None:
        """Let it go on after `pause`."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    async def kill(self) -> None:
        """End it by SIGKILL."""
        assert self.process is not None
        self.process.kill()
        await self.process.wait()

    async def terminate(self) -> tuple[int, str]:
        """Stop it by SIGTERM; return its exit code and log."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.terminate()
        return await self.ended()

    async def ended(self) -> tuple[int, str]:
        """Return its exit code and log once it has ended by itself."""
        assert self.process is not None
        assert self._reading is not None
        code = await self.process.wait()
        await self._reading
        return code, "".join(self._log)

    async def _read_log(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            self._log.append(line.decode())


def is_locked(database: str) -> bool:
    """Whether somebody is writing to the database."""
    with closing(sqlite3.connect(database, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        connection.execute("ROLLBACK")
    return False


async def wait_until_it_answers(url: str, namespace: str) -> None:
    """Return once a scheduler of this namespace answers."""
    async with asyncio.timeout(START_TIMEOUT):
        while True:
            try:
                async with JobQueue(url, namespace=namespace, timeout=2 * TIMEOUT_FACTOR) as client:
                    await client.workers()
                return
            except Unavailable:
                await asyncio.sleep(0.02)
