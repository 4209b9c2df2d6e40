"""``python -m scheduler.copying backup|restore``: what the command line runs to copy databases.

One JSON object on standard output says what was done; a line on standard error what went wrong.

Exit codes: 0 done, 1 an unexpected error, 2 a file that cannot be used.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from broker_queue.errors import BrokerQueueError
from scheduler.restoring import restore
from scheduler.settings import Settings
from scheduler.store.backup import back_up
from scheduler.store.database import Database

DATABASE_VARIABLE = "BROKER_QUEUE_DATABASE"


def main(arguments: Sequence[str] | None = None) -> int:
    """Copy a database, and return the exit code."""
    given = _parser().parse_args(arguments)
    try:
        database = Database(given.database or _default_database()).path
        work = _back_up if given.operation == "backup" else _restore
        found = work(database, Path(given.file), replace=given.force)
    except BrokerQueueError as error:
        print(error, file=sys.stderr)  # noqa: T201  # a command
        return 2
    print(json.dumps(found))  # noqa: T201  # a command
    return 0


def _back_up(database: Path, destination: Path, *, replace: bool) -> dict[str, str | int]:
    copied = back_up(database, destination, replace=replace)
    return {"path": str(copied.path), "bytes": copied.size, "jobs": copied.jobs}


def _restore(database: Path, copy: Path, *, replace: bool) -> dict[str, str | int]:
    restored = restore(copy, database, replace=replace)
    return {"path": str(restored.path), "jobs": restored.jobs, "again": restored.again}


def _default_database() -> str:
    default: str = Settings.model_fields["database"].default
    return os.environ.get(DATABASE_VARIABLE) or default


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scheduler.copying")
    parser.add_argument("operation", choices=["backup", "restore"])
    parser.add_argument("file")
    parser.add_argument("--database")
    parser.add_argument("--force", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
