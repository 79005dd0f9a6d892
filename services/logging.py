"""Structured logs on standard error, for structlog's loggers and the standard library's alike."""

import logging
import sys
from typing import Any, TextIO

import structlog

from core.settings import Settings

_NOISY = ("celery", "kombu", "amqp", "grpc", "alembic", "fsspec", "botocore")
"""Libraries whose own chatter is of use to nobody who runs this."""


def configure_logging(settings: Settings, stream: TextIO | None = None) -> None:
    """Log to ``stream`` (standard error by default), one line an event.

    ``log_format`` "auto" gives plain columns on a terminal and JSON elsewhere.
    """
    target = stream or sys.stderr
    shared = _shared_processors()
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_rendering(settings.log_format, target),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)


def _shared_processors() -> list[Any]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _rendering(log_format: str, stream: TextIO) -> list[Any]:
    console = log_format == "console" or (log_format == "auto" and stream.isatty())
    if console:
        # The traces that it would choose show local variables: pictures, passwords.
        plain = structlog.dev.plain_traceback
        return [structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=plain)]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
