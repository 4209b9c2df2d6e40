"""Log lines: readable on a terminal, JSON for programs otherwise."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from scheduler.settings import Settings


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (ISO 8601, UTC), level, logger, message, error."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure(settings: Settings) -> None:
    """Log to standard error as the settings say."""
    handler = logging.StreamHandler(sys.stderr)
    as_text = settings.log_format == "text" or (
        settings.log_format == "auto" and sys.stderr.isatty()
    )
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")
        if as_text
        else JsonFormatter()
    )
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    for library in ("aio_pika", "aiormq"):  # what they log of lost connections is logged by us
        logging.getLogger(library).setLevel(logging.CRITICAL)
    for library in ("alembic", "aiosqlite"):
        logging.getLogger(library).setLevel(logging.ERROR)
