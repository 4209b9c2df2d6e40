"""The args that jobs of a rehearsal have, and what their results must be."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, auto
from typing import Any

FAILURE = "this job was told to fail"

ODD_ARGS = (
    b"{}",
    '{"text": "Grüße, 世界, \U0001f407 \\u0000 \\" \\\\ \\n"}'.encode(),
    b'{"numbers": [12345678901234567890, 9007199254740993, 0.1, -0.0, 1e-7]}',
    b'{"empty": ["", [], {}, null, false], "": {"/~": 1}}',
    b'{"deep": ' + b"[" * 100 + b"]" * 100 + b"}",
    b'{"long": "' + b"x" * 100_000 + b'"}',
)


class Likeness(Enum):
    """How a result is like the args."""

    SAME = auto()
    ROUNDED = auto()
    """But for numbers that a double cannot hold."""
    OTHER = auto()


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What is asked of the worker.

    Where nothing is given, jobs keep the contract of a *rehearsal job*: they take `seconds`, fail
    with the text in `fail`, and else give back their args.

    Attributes:
        normal: args of a job that finishes soon.
        failing: of a job that fails.
        slow: of a job that takes some ten seconds.
        malformed: that the worker does not understand.
    """

    normal: bytes | None = None
    failing: bytes | None = None
    slow: bytes | None = None
    malformed: bytes | None = None

    @property
    def gives_back_args(self) -> bool:
        """Whether results are known beforehand."""
        return self.normal is None

    def normal_args(self, number: int = 0) -> bytes:
        """Return args of a job that finishes soon, different for each number."""
        return self.normal or json.dumps({"rehearsal": number}).encode()

    def failing_args(self) -> bytes | None:
        """Return args of a job that fails, or None if none are known."""
        return self.failing or self._own({"fail": FAILURE})

    def slow_args(self, seconds: float) -> bytes | None:
        """Return args of a job that takes so long, or None if none are known."""
        return self.slow or self._own({"seconds": seconds})

    def timed_args(self, seconds: float) -> bytes:
        """Return args of a job that takes so long; where that cannot be told, of one that ends soon."""
        return self.normal or json.dumps({"seconds": seconds}).encode()

    def malformed_args(self) -> bytes | None:
        """Return args that the worker does not understand, or None if none are known."""
        return self.malformed or self._own("no object")

    def _own(self, args: Any) -> bytes | None:
        return json.dumps(args).encode() if self.gives_back_args else None


def likeness(args: bytes, result: bytes) -> Likeness:
    """Return how like its args a result is.

    Raises:
        ValueError: it is no JSON.
    """
    if _exact(args) == _exact(result):
        return Likeness.SAME
    rounded = _rounded(args) == _rounded(result)
    return Likeness.ROUNDED if rounded else Likeness.OTHER


def _rounded(text: bytes) -> Any:
    return _told_apart(json.loads(text, parse_int=float))


def _exact(text: bytes) -> Any:
    return _told_apart(json.loads(text, parse_float=Decimal, parse_int=Decimal))


def _told_apart(value: Any) -> Any:
    """Return a value that equals no other kind of value: in Python, True is 1."""
    if isinstance(value, dict):
        return {key: _told_apart(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_told_apart(each) for each in value]
    return (type(value), value)
