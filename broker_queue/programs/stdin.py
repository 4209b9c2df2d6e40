"""What a program reads: all of it is there before it starts, so nobody has to feed it."""

from __future__ import annotations

import os
import tempfile
from typing import BinaryIO


def stdin_of(data: bytes) -> BinaryIO:
    """Return a file without a name that reads as `data`, in memory where the system can do that."""
    file: BinaryIO
    if hasattr(os, "memfd_create"):
        file = os.fdopen(os.memfd_create("args"), "w+b")
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115  # whoever asked closes it
    file.write(data)
    file.flush()
    file.seek(0)
    return file
