"""What ``last`` means: the job or graph that this user made last, for each broker and namespace.

Kept in ``$XDG_STATE_HOME/broker-queue/last.json``. A convenience: a file that cannot be read or
written never makes a command fail.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

LAST = "last"
"""The word that stands for the id."""

MAX_PLACES = 50
"""Brokers and namespaces remembered; the oldest goes first."""

Kind = Literal["job", "graph"]


@dataclass(frozen=True, slots=True)
class Remembered:
    """One thing that was made: a single job, or a graph."""

    kind: Kind
    id: str


def state_file() -> Path:
    """Return where ``last`` is kept (XDG base directories)."""
    base = os.environ.get("XDG_STATE_HOME")
    folder = Path(base) if base else Path.home() / ".local" / "state"
    return folder / "broker-queue" / "last.json"


def recall(place: str) -> Remembered | None:
    """Return what was made last at `place` (broker address and namespace), if anything."""
    entry = _load().get(place)
    if not isinstance(entry, dict):
        return None
    kind, identifier = entry.get("kind"), entry.get("id")
    if kind not in ("job", "graph") or not isinstance(identifier, str):
        return None
    return Remembered(kind, identifier)


def remember(place: str, kind: Kind, identifier: str) -> None:
    """Note what was made last; two commands at once leave one of the two, never half a file."""
    path = state_file()
    places = _load()
    places.pop(place, None)
    places[place] = {"kind": kind, "id": identifier}
    kept = dict(list(places.items())[-MAX_PLACES:])
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(kept), encoding="utf-8")
        temporary.replace(path)


def _load() -> dict[str, object]:
    try:
        found = json.loads(state_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
