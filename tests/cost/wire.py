"""AMQP as it passes between a process and the broker: messages by exchange and type, and bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from aiormq import spec
from pamqp import frame, header
from pamqp.constants import FRAME_HEADER, FRAME_METHOD

_PROTOCOL_HEADER = 8
_PREFIX = 7
"""Bytes of a frame before its payload: type, channel, size; one more follows it."""


class Tally:
    """What one process sends and receives, over all of its connections.

    Attributes:
        published: messages sent, by exchange and type; ``direct`` is the exchange without a name.
        methods: AMQP methods sent.
        sent: bytes.
        received: bytes.
    """

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self.published: Counter[str] = Counter()
        self.methods: Counter[str] = Counter()
        self.sent = 0
        self.received = 0

    def clear(self) -> None:
        """Begin anew, in the middle of all connections."""
        self.published.clear()
        self.methods.clear()
        self.sent = self.received = 0

    def connection(self) -> tuple[_Sent, _Received]:
        """Return what is to be called with the bytes of a new connection, by direction."""
        return _Sent(self, self._namespace), _Received(self)


class _Received:
    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def __call__(self, data: bytes) -> None:
        self._tally.received += len(data)


class _Sent:
    """Reads the frames of one connection, from the protocol header on."""

    def __init__(self, tally: Tally, namespace: str) -> None:
        self._tally = tally
        self._namespace = namespace
        self._unread = b""
        self._has_begun = False
        self._exchanges: dict[int, str] = {}
        """By channel: of the message whose properties come next."""

    def __call__(self, data: bytes) -> None:
        self._tally.sent += len(data)
        self._unread += data
        if not self._has_begun and len(self._unread) >= _PROTOCOL_HEADER:
            self._unread = self._unread[_PROTOCOL_HEADER:]
            self._has_begun = True
        for text in self._frames():
            self._read(text)

    def _frames(self) -> Iterator[bytes]:
        while self._has_begun and len(self._unread) >= _PREFIX:
            size = _PREFIX + int.from_bytes(self._unread[3:_PREFIX], "big") + 1
            if len(self._unread) < size:
                return
            text, self._unread = self._unread[:size], self._unread[size:]
            yield text

    def _read(self, text: bytes) -> None:
        if text[0] not in (FRAME_METHOD, FRAME_HEADER):
            return
        _, channel, part = frame.unmarshal(text)
        if isinstance(part, spec.Basic.Publish):
            self._exchanges[channel] = part.exchange or ""
        if isinstance(part, header.ContentHeader):
            exchange = self._exchanges[channel].removeprefix(f"{self._namespace}.") or "direct"
            self._tally.published[f"{exchange} {part.properties.message_type}"] += 1
        else:
            self._tally.methods[part.name] += 1
