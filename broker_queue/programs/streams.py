"""What a program writes, read as it comes.

Whatever a program has written is in the pipe by the time it ends. So its output is complete then,
whoever else still holds the pipe open.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from broker_queue.errors import JobError
from broker_queue.job import FailureCode

AT_ONCE = 1 << 14
"""Bytes; then others have their turn."""

DRAINED = 1 << 21
"""Bytes: no pipe holds more. Beyond that it is somebody else who writes, and does not end."""

LONGEST_LINE = 8_000
"""Bytes; longer ones are cut in pieces."""

KEPT_LINES = 200
KEPT_CHARACTERS = 8_000
"""Of standard error, for a failure."""


class Output(Protocol):
    """Takes what a program writes."""

    def take(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            JobError: they are too many.
        """

    def end(self) -> None:
        """Take note that nothing more comes."""


class Stdout:
    """Keeps standard output, up to a limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data = bytearray()

    @property
    def data(self) -> bytes:
        """All of it."""
        return bytes(self._data)

    def take(self, data: bytes) -> None:
        self._data += data
        if len(self._data) > self._limit + len("\r\n"):
            self._data.clear()
            raise JobError(
                f"standard output has more than {self._limit:,} bytes, the limit of a result; "
                "print a URL or key to large data instead of the data",
                code=FailureCode.INVALID_RESULT,
                retry=False,
            )

    def end(self) -> None:
        pass


class Stderr:
    """Hands on the lines of standard error, and keeps the last ones.

    Args:
        tell: called with each line; returns whether it is one to be kept.
    """

    def __init__(self, tell: Callable[[str], bool]) -> None:
        self._tell = tell
        self._rest = b""
        self._kept: deque[str] = deque(maxlen=KEPT_LINES)

    def take(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take_line(line)
        while len(self._rest) > LONGEST_LINE:
            self._take_line(self._rest[:LONGEST_LINE])
            self._rest = self._rest[LONGEST_LINE:]

    def end(self) -> None:
        if self._rest:
            self._take_line(self._rest)
            self._rest = b""

    def tail(self, lines: int = KEPT_LINES, characters: int = KEPT_CHARACTERS) -> str:
        """Return its end, in whole lines where one of them has room."""
        text = "\n".join(list(self._kept)[-lines:])
        if len(text) <= characters:
            return text
        text = text[-characters:]
        return text.partition("\n")[2] or text

    def _take_line(self, line: bytes) -> None:
        text = line.decode(errors="backslashreplace").rstrip("\r")
        text = text.rpartition("\r")[2]  # what a terminal would show of a progress bar
        if self._tell(text):
            self._kept.append(text)


class Stream:
    """A pipe that a program writes to.

    Args:
        output: is given what comes.
        on_error: called with what `output` raises; then no more is read.

    Attributes:
        writing: the program's end.
    """

    def __init__(self, output: Output, on_error: Callable[[Exception], None]) -> None:
        self._output = output
        self._on_error = on_error
        self._is_open = False

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._reading, writing = os.pipe()
        self._is_open = True
        self.writing = os.fdopen(writing, "wb", buffering=0)
        os.set_blocking(self._reading, False)
        self._loop.add_reader(self._reading, self._on_readable)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def drain(self) -> None:
        """Take what is there, and close.

        Raises:
            JobError: it is too much.
        """
        drained = 0
        while self._is_open and drained < DRAINED:
            try:
                drained += self._read()
            except BlockingIOError:
                break
        self._output.end()
        self._close()

    def _on_readable(self) -> None:
        try:
            self._read()
        except BlockingIOError:
            return
        except JobError as error:
            self._close()
            self._on_error(error)

    def _read(self) -> int:
        data = os.read(self._reading, AT_ONCE)
        if not data:
            self._close()
        self._output.take(data)
        return len(data)

    def _close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._reading)
            os.close(self._reading)
