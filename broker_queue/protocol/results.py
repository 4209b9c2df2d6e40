"""The body of a ``finished`` into the JSON text of a result.

A result's type does not depend on what the body happens to look like: text is declared as such.
"""

from __future__ import annotations

from broker_queue.errors import Invalid, TooLarge
from broker_queue.protocol.codec import to_json

TEXT = "text/plain"

CHARSETS = {"utf-8": "utf-8", "utf8": "utf-8", "us-ascii": "ascii"}
"""What a text may be declared to be written in → the codec."""

WAY_OUT = f"send it as JSON, or as UTF-8 text with content_type {TEXT} to have it taken as a string"


def as_json(body: bytes, content_type: str) -> bytes:
    """Return what is to be JSON: the body, or if it is declared to be text, the string of it.

    Raises:
        Invalid: text in another charset than its sender says, or than is read here.
    """
    charset = _charset_of_text(content_type)
    return (body or b"null") if charset is None else to_json(_text(body, charset), "result")


def with_way_out(error: Invalid) -> Invalid:
    """Return the error with what to do, unless the result is JSON and too large."""
    if isinstance(error, TooLarge):
        return error
    return Invalid(f"{error.message}; {WAY_OUT}", error.details)


def _charset_of_text(content_type: str) -> str | None:
    """Return the charset of ``text/plain``, or None of any other media type."""
    media_type, *parameters = content_type.lower().split(";")
    if media_type.strip() != TEXT:
        return None
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "charset":
            return value.strip().strip('"')
    return "utf-8"


def _text(body: bytes, charset: str) -> str:
    codec = CHARSETS.get(charset)
    if codec is None:
        raise Invalid(
            f"result is text in {charset!r}, and only utf-8 and us-ascii are read; send it in utf-8",
            {"field": "result"},
        )
    try:
        return body.decode(codec)
    except UnicodeDecodeError as error:
        raise Invalid(
            f"result is declared to be text in {charset}, and is not: {error.reason} at byte "
            f"{error.start}; send other bytes as base64",
            {"field": "result"},
        ) from None
