"""Finding the worker that a command line names, and starting it again when its code changes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from broker_queue.errors import ConfigurationError
from broker_queue.worker import Worker

RELOAD_GRACE = 35
"""Seconds that a worker has to stop before it is started again: its grace time and a little."""


def load_worker(target: str, options: Mapping[str, Any] | None = None) -> Worker:
    """Return the worker that ``module:attribute`` names; the current folder is searched first.

    Args:
        target: such as ``jobs:worker``.
        options: attributes of the worker to be set, such as ``concurrency``; None is left alone.

    Raises:
        ConfigurationError: there is no such module or attribute, or it is no worker.
    """
    name, colon, attribute = target.partition(":")
    if not colon or not name or not attribute:
        raise ConfigurationError(
            f"{target!r} names no worker; write MODULE:ATTRIBUTE, such as jobs:worker"
        )
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigurationError(f"there is no module {name!r} in {folder}") from None
        raise
    worker = getattr(module, attribute, None)
    if not isinstance(worker, Worker):
        raise ConfigurationError(_no_worker(module.__dict__, name, attribute))
    for option, value in (options or {}).items():
        if value is not None:
            setattr(worker, option, value)
    return worker


def run_worker(target: str, options: Mapping[str, Any] | None = None) -> None:
    """Load a worker and run it until a signal."""
    load_worker(target, options).run_forever()


def run_with_reload(
    target: str, paths: Sequence[Path], options: Mapping[str, Any] | None = None
) -> None:
    """Run a worker in a process of its own; start it again when a Python file in `paths` changes.

    Raises:
        ConfigurationError: there is no such worker.
    """
    from watchfiles import PythonFilter, run_process

    run_process(
        *paths,
        target=run_worker,
        args=(target, dict(options or {})),
        watch_filter=PythonFilter(),
        sigint_timeout=RELOAD_GRACE,
        callback=_tell,
    )


def _tell(changes: Any) -> None:
    names = ", ".join(sorted({Path(path).name for _, path in changes}))
    print(f"{names} changed; the worker starts again", file=sys.stderr)  # noqa: T201  # for a person


def _no_worker(members: Mapping[str, Any], module: str, attribute: str) -> str:
    workers = [name for name, value in members.items() if isinstance(value, Worker)]
    if attribute in members:
        kind = type(members[attribute]).__name__
        text = f"{module}:{attribute} is no Worker but {kind}"
    else:
        text = f"module {module!r} has no {attribute!r}"
    near = workers or get_close_matches(attribute, members, n=1)
    return text + (f"; did you mean {module}:{near[0]}?" if near else "")
