"""The job that every contender runs: a checksum over its input and its parents' results."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence


class PlannedFailure(Exception):
    """The first attempt of a job that must be tried twice."""


def checksum(salt: int, parents: Sequence[int] = (), marker: str | None = None) -> int:
    """Return the job's result.

    Args:
        salt: its input.
        parents: results of the jobs that it depends on.
        marker: path of a file; the attempt that makes it fails. So every contender's retries are
            the same, whether or not a job can ask it for the number of its attempt.

    Raises:
        PlannedFailure: this is the first attempt.
    """
    if marker is not None and _is_first(marker):
        raise PlannedFailure(marker)
    return zlib.crc32(repr((salt, *parents)).encode())


def _is_first(marker: str) -> bool:
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True
