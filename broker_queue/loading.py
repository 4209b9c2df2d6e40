"""Finding the worker that a command line names."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from broker_queue.errors import ConfigurationError
from broker_queue.worker import Worker


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


def _no_worker(members: Mapping[str, Any], module: str, attribute: str) -> str:
    workers = [name for name, value in members.items() if isinstance(value, Worker)]
    if attribute in members:
        kind = type(members[attribute]).__name__
        text = f"{module}:{attribute} is no Worker but {kind}"
    else:
        text = f"module {module!r} has no {attribute!r}"
    near = workers or get_close_matches(attribute, members, n=1)
    return text + (f"; did you mean {module}:{near[0]}?" if near else "")
