"""What this worker can do: put your own job types into the table at the end."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten
from typing import Any

LONGEST_QUOTE = 200
"""Characters."""


class InvalidArgs(ValueError):
    """The args are not what the job type needs: trying again does not help."""


class Canceled(Exception):
    """The job stops because somebody canceled it."""


@dataclass
class Job:
    """What a job function gets."""

    type: str
    body: bytes
    canceled: threading.Event = field(default_factory=threading.Event)

    @property
    def args(self) -> dict[str, Any]:
        try:
            args = json.loads(self.body)
        except ValueError as error:
            raise InvalidArgs(f"the args are no JSON: {error}") from error
        if not isinstance(args, dict):
            raise InvalidArgs("the args must be an object")
        return args

    def sleep(self, seconds: float) -> None:
        """Wait; a job function that computes for long checks `canceled` now and then instead."""
        if self.canceled.wait(seconds):
            raise Canceled


def rehearse(job: Job) -> bytes:
    """Take `seconds`, then fail with the message `fail`, or return the args as they came."""
    args = job.args
    seconds = args.get("seconds", 0)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0:
        raise InvalidArgs("`seconds` must be a number, 0 or more")
    job.sleep(seconds)
    if "fail" in args:
        raise RuntimeError(str(args["fail"]))
    return job.body


def read_text(job: Job) -> str:
    """Return the text of a file below the folder that this worker was started in."""
    path = job.args.get("path")
    if not isinstance(path, str):
        raise InvalidArgs("`path` must be a string")
    folder = Path.cwd().resolve()
    found = (folder / path).resolve()
    if not found.is_relative_to(folder):
        raise InvalidArgs(f"{path} is not below the folder that the worker was started in")
    return found.read_text(encoding="utf-8")


def write_report(job: Job) -> dict[str, str]:
    """Make Markdown of what the workers in the other languages found out about a text."""
    args = job.args
    try:
        text = [f"# {args['title']}", ""]
        if found := args.get("fingerprint"):
            text.append(f"- {found['characters']} characters in {found['bytes']} bytes")
        if found := args.get("lines"):
            text.append(f"- {found['lines']} lines, the longest of {found['longest']} characters")
        if found := args.get("words"):
            top = ", ".join(f"{word} ({count})" for word, count in found["top"])
            text.append(f"- {found['words']} words, most often: {top}")
        if found := args.get("letters"):
            text.append(f"- {found['letters']} letters, most often: {found['most']}")
        if found := args.get("sentences"):
            text.append(f"- {found['sentences']} sentences, the longest:")
            text += ["", f"> {shorten(found['longest'], LONGEST_QUOTE, placeholder=' …')}"]
        if found := args.get("fingerprint"):
            text += ["", f"SHA-256: `{found['sha256']}`"]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidArgs(f"{type(error).__name__}: {error}") from error
    return {"report": "\n".join([*text, ""])}


HANDLERS: dict[str, Callable[[Job], Any]] = {
    "rehearsal.python": rehearse,
    "text.read": read_text,
    "text.report": write_report,
}
"""Job type → function. It returns the result, or `bytes` that are JSON already, or raises."""
