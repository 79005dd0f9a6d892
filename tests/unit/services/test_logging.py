import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from core.settings import Settings
from services.logging import configure_logging


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def logged(tmp_path: Path, **overrides: str) -> str:
    stream = io.StringIO()
    configure_logging(Settings.from_environment({}, data_dir=tmp_path, **overrides), stream)
    structlog.stdlib.get_logger("ours").info("call", method="/x", ms=1.5)
    logging.getLogger("theirs").warning("lost count=%d", 3)
    logging.getLogger("ours").debug("too quiet")
    logging.getLogger("celery.x").info("chatter")
    return stream.getvalue()


def test_both_kinds_of_loggers_give_one_json_object_a_line(tmp_path: Path) -> None:
    first, second = map(json.loads, logged(tmp_path).splitlines())
    assert (first["event"], first["method"], first["level"]) == ("call", "/x", "info")
    assert (second["event"], second["logger"]) == ("lost count=3", "theirs")
    assert first["timestamp"].endswith("Z")


def test_the_console_format_is_for_people(tmp_path: Path) -> None:
    lines = logged(tmp_path, log_format="console").splitlines()
    assert len(lines) == 2
    assert "method=/x" in lines[0]


def test_the_level_is_a_setting(tmp_path: Path) -> None:
    assert len(logged(tmp_path, log_level="ERROR").splitlines()) == 0


def test_a_trace_is_one_line_too(tmp_path: Path) -> None:
    stream = io.StringIO()
    configure_logging(Settings.from_environment({}, data_dir=tmp_path), stream)
    structlog.stdlib.get_logger("ours").error("internal_error", exc_info=ValueError("why"))
    (line,) = stream.getvalue().splitlines()
    assert "ValueError: why" in json.loads(line)["exception"]


@pytest.mark.parametrize("log_format", ["console", "json"])
@pytest.mark.parametrize("name", ["ours", "theirs"])
def test_a_trace_shows_no_value(tmp_path: Path, log_format: str, name: str) -> None:
    stream = io.StringIO()
    settings = Settings.from_environment({}, data_dir=tmp_path, log_format=log_format)
    configure_logging(settings, stream)
    # Made here, so that the line of code that a trace shows does not hold it.
    secret = "-".join(["a", "patient"])
    try:
        raise ValueError(len(secret))
    except ValueError:
        if name == "ours":
            structlog.stdlib.get_logger(name).exception("it failed")
        else:
            logging.getLogger(name).exception("it failed")
    assert "ValueError: 9" in stream.getvalue()
    assert "test_logging.py" in stream.getvalue()
    assert secret not in stream.getvalue()
