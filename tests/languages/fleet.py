"""A worker of each language, as processes that may be killed."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from tests.languages import toolchains

COMMANDS = {
    "python": toolchains.plain_python_worker,
    "go": toolchains.go_worker,
    "node": toolchains.node_worker,
    "shell": toolchains.shell_worker,
    "ruby": toolchains.ruby_worker,
    "java": toolchains.java_worker,
}


class Fleet:
    """Workers for the length of the block; whatever still runs at its end is killed.

    Args:
        url: of the broker.
        namespace: of the scheduler.
        folder: that they are started in.
        concurrency: jobs at a time, each.
    """

    def __init__(self, url: str, namespace: str, folder: Path, concurrency: int = 8) -> None:
        self._folder = folder
        self._environment = os.environ | {
            "BROKER_QUEUE_URL": url,
            "BROKER_QUEUE_NAMESPACE": namespace,
            "CONCURRENCY": str(concurrency),
        }
        self._running: dict[str, asyncio.subprocess.Process] = {}

    async def start(self, *languages: str) -> None:
        for language in languages:
            command = await asyncio.to_thread(COMMANDS[language])
            with self._log(language).open("ab") as log:
                self._running[language] = await asyncio.create_subprocess_exec(
                    *command,
                    cwd=self._folder,
                    env=self._environment,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # a worker may consist of several processes
                )

    def pause(self, language: str) -> None:
        """Stop one by SIGSTOP: what it holds, it holds until it is killed."""
        os.killpg(self._running[language].pid, signal.SIGSTOP)

    async def kill(self, language: str) -> None:
        """End one by SIGKILL."""
        process = self._running.pop(language)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()

    async def __aenter__(self) -> Fleet:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for language in list(self._running):
            await self.kill(language)
        if error is not None:
            for language in COMMANDS:
                if self._log(language).exists():
                    print(f"{language}:\n{self._log(language).read_text(errors='replace')}")

    def _log(self, language: str) -> Path:
        return self._folder / f"{language}.log"
