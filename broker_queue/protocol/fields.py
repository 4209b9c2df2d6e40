"""What the fields of bodies and headers may hold.

Times are whole milliseconds since the Unix epoch, durations are seconds.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from broker_queue.protocol.names import CHANNEL_PATTERN, TYPE_PATTERN

Milliseconds = Annotated[
    int, Meta(ge=0, le=1 << 53, description="milliseconds since the Unix epoch")
]
TEN_YEARS = 315_360_000
"""Seconds."""

UUID_PATTERN = "^(-*[0-9A-Fa-f]){32}-*$"
"""Where its hyphens are does not matter."""

Seconds = Annotated[float, Meta(ge=0, le=TEN_YEARS, description="seconds, at most ten years")]
Id = Annotated[
    str,
    Meta(
        min_length=32,
        max_length=36,
        description="a UUID",
        extra_json_schema={"pattern": UUID_PATTERN},  # each id is parsed anyway
    ),
]
JobType = Annotated[str, Meta(pattern=TYPE_PATTERN, description="name of a job type")]
Channel = Annotated[str, Meta(pattern=CHANNEL_PATTERN, description="name of a channel, or empty")]
Label = Annotated[str, Meta(max_length=200, description="a name for people")]
Pointer = Annotated[str, Meta(max_length=2_000, description="a JSON pointer, RFC 6901")]
Priority = Annotated[int, Meta(ge=0, le=9, description="0 (last) to 9 (first); 4 is the default")]
Target = Annotated[int, Meta(ge=0, description="position in the request's jobs")] | Id

DEFAULT_PRIORITY = 4
"""What RabbitMQ 4.3 assumes of a message without one (and the default of JMS)."""
