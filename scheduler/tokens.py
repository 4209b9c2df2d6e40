"""Tokens: who may report on a hand-over.

``<job id>.<hand-over>.<key>.<tag>``. The tag is a keyed hash that only the scheduler can make, so a
token is a capability: whoever was given the job can report on it, nobody else. Workers treat it as
opaque. The key is the job's row, which spares a look-up by id.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from typing import NamedTuple

from scheduler.rules.submission import id_text

TAG_BYTES = 12
"""96 bits: beyond guessing, and the token stays below 100 characters."""


class Token(NamedTuple):
    """A verified token."""

    id: bytes
    handover: int
    key: int


class Tokens:
    """Makes and verifies tokens with one secret, which lives in the database."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def make(self, identity: bytes, handover: int, key: int) -> str:
        """Return the token of one hand-over of a job."""
        named = f"{id_text(identity)}.{handover}.{key}"
        return f"{named}.{self._tag(named)}"

    def read(self, text: str | None) -> Token | None:
        """Return what a token names, or None if it is none of ours."""
        if not text:
            return None
        named, _, tag = text.rpartition(".")
        if not hmac.compare_digest(tag.encode(), self._tag(named).encode()):
            return None
        identity, handover, key = named.split(".")
        return Token(bytes.fromhex(identity.replace("-", "")), int(handover), int(key))

    def _tag(self, named: str) -> str:
        digest = hmac.digest(self._secret, named.encode(), "sha256")
        return urlsafe_b64encode(digest[:TAG_BYTES]).decode()
