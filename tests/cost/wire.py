"""AMQP as it passes between a process and the broker: messages by exchange and type, and bytes."""

from __future__ import annotations

from collections import Counter

from aiormq import spec
from pamqp import frame, header
from pamqp.constants import FRAME_HEADER, FRAME_METHOD

from tests.support.frames import Frames


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
        self._frames = Frames(from_client=True)
        self._exchanges: dict[int, str] = {}
        """By channel: of the message whose properties come next."""

    def __call__(self, data: bytes) -> None:
        self._tally.sent += len(data)
        for text in self._frames.take(data):
            self._read(text)

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
