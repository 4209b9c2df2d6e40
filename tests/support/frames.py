"""The frames of AMQP in a stream of bytes."""

from __future__ import annotations

from collections.abc import Iterator

_PROTOCOL_HEADER = 8
_PREFIX = 7
"""Bytes of a frame before its payload: type, channel, size; one more follows it."""


class Frames:
    """Cuts what passes in one direction of a connection into frames.

    Args:
        from_client: then the stream begins with the protocol header.
    """

    def __init__(self, *, from_client: bool) -> None:
        self._unread = b""
        self._is_to_come = _PROTOCOL_HEADER if from_client else 0

    def take(self, data: bytes) -> Iterator[bytes]:
        """Yield the frames that are complete with `data`."""
        self._unread += data
        if self._is_to_come and len(self._unread) >= self._is_to_come:
            self._unread = self._unread[self._is_to_come :]
            self._is_to_come = 0
        while not self._is_to_come and len(self._unread) >= _PREFIX:
            size = _PREFIX + int.from_bytes(self._unread[3:_PREFIX], "big") + 1
            if len(self._unread) < size:
                return
            text, self._unread = self._unread[:size], self._unread[size:]
            yield text
