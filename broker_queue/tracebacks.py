"""The part of a traceback that a person needs: where in their own code it went wrong."""

from __future__ import annotations

import re
from typing import NamedTuple

SHOWN = 2
"""Frames of the job's own code: the line that failed, and who called it."""

_FRAME = re.compile(r'^[\s|+-]*File "(?P<file>[^"]*)", line (?P<line>\d+)(?:, in (?P<name>.*))?$')
_MARKERS = re.compile(r"[\s|~^]*\Z")
_BEGIN = re.compile(r"Traceback \(most recent call last\):")
_OURS = re.compile(r"[/\\]broker_queue[/\\](?:running|execution)\.py\Z")
_LIBRARY = re.compile(r"[/\\](?:site-packages|dist-packages|python3\.\d+)[/\\]|\A<frozen ")


class Frame(NamedTuple):
    """One call of a traceback, as its text has it."""

    file: str
    line: int
    function: str
    code: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" + (f" in {self.function}" if self.function else "")
        return f"{where}\n    {self.code}" if self.code else where


def where(traceback: str) -> str:
    """Return the last frames of the job's own code, and the very last one if it is a library's.

    Args:
        traceback: as Python prints it; of several, the last one counts. Its beginning may be cut.
    """
    frames = _frames(traceback)
    own = [frame for frame in frames if not _is_foreign(frame)]
    shown = own[-SHOWN:] or frames[-SHOWN:]
    if frames and frames[-1] not in shown:
        shown.append(frames[-1])
    return "\n".join(map(str, shown))


def _frames(traceback: str) -> list[Frame]:
    frames: list[Frame] = []
    for text in _BEGIN.split(traceback)[-1].splitlines():
        found = _FRAME.match(text)
        if found:
            frames.append(Frame(found["file"], int(found["line"]), found["name"] or "", ""))
        elif frames and not frames[-1].code and not _MARKERS.match(text):
            frames[-1] = frames[-1]._replace(code=_code(text))
    return frames


def _code(line: str) -> str:
    """Return a line of source; what is not indented is the exception's own text."""
    stripped = line.lstrip(" |")
    return stripped if line.startswith((" ", "|")) else ""


def _is_foreign(frame: Frame) -> bool:
    return bool(_OURS.search(frame.file) or _LIBRARY.search(frame.file))
