"""One process at a time works in a folder: a second one is told who does.

The lock is the kernel's (flock), so it ends with its process, however that dies. What stands in the
file is only for the message.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from broker_queue.errors import BrokerQueueError

LOCK_NAME = "lock.json"

Tell = Callable[..., None]


class Claimed(BrokerQueueError):
    """Another process works in the folder.

    Attributes:
        holder: what that process told of itself, such as ``pid`` and ``url``.
    """

    def __init__(self, folder: Path, holder: Mapping[str, str]) -> None:
        super().__init__(f"another process works in {folder}")
        self.holder = dict(holder)


@contextmanager
def claim(folder: Path) -> Iterator[Tell]:
    """Hold a folder for the length of the block.

    Yields a function that adds facts, given by name, to what a second process is told.

    Raises:
        Claimed: another process holds it.
        OSError: the file cannot be written.
    """
    import fcntl  # Windows has none

    path = folder / LOCK_NAME
    with path.open("a+") as file:  # opened to append: whoever holds it has written here
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Claimed(folder, _read(path)) from None
        facts = {"pid": str(os.getpid())}

        def tell(**more: str) -> None:
            facts.update(more)
            file.truncate(0)
            file.write(json.dumps(facts))
            file.flush()

        tell()
        yield tell


def _read(path: Path) -> dict[str, str]:
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text())
        if isinstance(found, dict):
            return {str(name): str(value) for name, value in found.items()}
    return {}
