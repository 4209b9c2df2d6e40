"""Properties that the client library cannot read do not end the connection.

The library closes the connection at a property that it cannot read. The broker would deliver that
message again to the next one, for ever: anybody could stop a scheduler with one message.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pamqp import decode


def install() -> None:
    """Make the library read such text with question marks, such times as 1970, no such headers."""
    decode.METHODS |= {"shortstr": _short_text, "timestamp": _moment, "table": _table}
    decode.TABLE_MAPPING |= {b"T": _moment}
    decode.short_str = _short_text


_strict_moment = decode.timestamp
_strict_table = decode.field_table


def _short_text(value: bytes) -> tuple[int, str]:
    """Return text that is never longer than it came: it may go out again, in an answer."""
    length = value[0]
    return length + 1, value[1 : length + 1].decode(errors="replace").replace("\ufffd", "?")


def _moment(value: bytes) -> tuple[int, datetime]:
    try:
        return _strict_moment(value)
    except (ValueError, OverflowError, OSError):
        return 8, datetime.fromtimestamp(0, UTC)


def _table(value: bytes) -> tuple[int, dict[str, Any]]:
    """Return no headers where one of them is of an unknown type, no text, or nested without end."""
    try:
        return _strict_table(value)
    except (ValueError, RecursionError):
        return 4 + int.from_bytes(value[:4], "big"), {}
