"""Logs of the workers: JSON lines as the gateway writes them, or columns for people."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final, TextIO

from core.settings import Settings

_COLUMNS: Final = "%(asctime)s %(levelname)s %(processName)s %(name)s %(message)s"
_NOISY: Final = ("celery", "kombu")


class JsonLines(logging.Formatter):
    """One JSON object an event, with the keys of the gateway's."""

    def format(self, record: logging.LogRecord) -> str:
        values = {
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.processName,
            "timestamp": _timestamp(record.created),
        }
        if record.exc_info:
            values["exception"] = self.formatException(record.exc_info)
        return json.dumps(values)


def configure_logging(settings: Settings, stream: TextIO | None = None) -> None:
    """Log to ``stream`` (standard error by default), one line an event.

    ``log_format`` "auto" gives plain columns on a terminal and JSON elsewhere.
    """
    target = stream or sys.stderr
    handler = logging.StreamHandler(target)
    columns = settings.log_format == "console" or (
        settings.log_format == "auto" and target.isatty()
    )
    handler.setFormatter(logging.Formatter(_COLUMNS) if columns else JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
