"""Values that users see as plain data, ready for `msgspec.json.encode`."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any

from msgspec import UNSET, Raw, Struct

from broker_queue.moments import iso
from broker_queue.protocol.codec import RawJson


def plain(value: Any) -> Any:
    """Return a value with all its fields, its times as ISO 8601.

    What is kept as JSON text (``raw_result``) stands under its name without ``raw_`` and goes out
    byte for byte as it came.
    """
    if isinstance(value, RawJson):
        return Raw(value)
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, Struct):
        found = {name: getattr(value, name) for name in value.__struct_fields__}
        return {name: plain(item) for name, item in found.items() if item is not UNSET}
    if is_dataclass(value):
        names = [item.name for item in fields(value)]
        return {name.removeprefix("raw_"): plain(getattr(value, name)) for name in names}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value
