"""Ctrl-C and SIGTERM for a command that has to clean up: the first one ends it, others change nothing."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Hears signals for the length of the block; what cleans up within it must end by itself.

    Args:
        on_first: called in the event loop when the first one has come.
    """

    def __init__(self, on_first: Callable[[], None]) -> None:
        self._on_first = on_first
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._before: dict[signal.Signals, Any] = {}
        self.has_come = False

    def __enter__(self) -> Self:
        for number in SIGNALS:
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            # Once one has come, the process is about to end, and says so by its exit code.
            signal.signal(number, signal.SIG_IGN if self.has_come else handler)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what `work` returns, in an event loop of its own.

        Raises:
            CancelledError: a signal has come; `work` was canceled once, and has ended.
        """
        return asyncio.run(self._run(work))

    async def _run(self, work: Coroutine[Any, Any, T]) -> T:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        try:
            return await work
        finally:
            self._loop = None

    def _on_signal(self, *_: object) -> None:
        if self.has_come:
            return
        self.has_come = True
        if self._loop is None:
            raise KeyboardInterrupt
        self._loop.call_soon_threadsafe(self._end)  # here, something may just be printed

    def _end(self) -> None:
        self._on_first()
        if self._task is not None:
            self._task.cancel()
