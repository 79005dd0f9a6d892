import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.settings import Settings
from workers.logging import configure_logging


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def logged(tmp_path: Path, **overrides: str) -> list[str]:
    stream = io.StringIO()
    configure_logging(Settings.from_environment({}, data_dir=tmp_path, **overrides), stream)
    logging.getLogger("ours").warning("job_lost job=%s", "j1")
    logging.getLogger("ours").debug("too quiet")
    logging.getLogger("kombu.x").info("chatter")
    try:
        raise ValueError("a reason")
    except ValueError:
        logging.getLogger("ours").exception("work_failed")
    return stream.getvalue().splitlines()


@pytest.mark.parametrize("log_format", ["json", "auto"])
def test_each_event_is_one_json_object_a_line(tmp_path: Path, log_format: str) -> None:
    first, second = map(json.loads, logged(tmp_path, log_format=log_format))
    assert (first["event"], first["level"], first["logger"]) == (
        "job_lost job=j1",
        "warning",
        "ours",
    )
    assert first["timestamp"].endswith("Z")
    assert "ValueError: a reason" in second["exception"]


def test_the_console_format_is_for_people(tmp_path: Path) -> None:
    lines = logged(tmp_path, log_format="console")
    assert "WARNING" in lines[0]
    assert lines[0].endswith("ours job_lost job=j1")


def test_the_level_is_a_setting(tmp_path: Path) -> None:
    assert len(logged(tmp_path, log_level="ERROR")) == 1
