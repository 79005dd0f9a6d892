"""One stack per data folder."""

import os
from pathlib import Path

import pytest

from core.errors import FailedPrecondition
from services.supervisor.lock import LOCK_NAME, DataFolderLock


def test_a_second_lock_is_refused_and_names_the_first(tmp_path: Path) -> None:
    with (
        DataFolderLock(tmp_path),
        pytest.raises(FailedPrecondition) as caught,
        DataFolderLock(tmp_path),
    ):
        pass
    assert "already running" in caught.value.message
    assert f"process {os.getpid()}" in caught.value.message
    assert str(tmp_path) in caught.value.message


def test_the_lock_can_be_had_again_after_its_release(tmp_path: Path) -> None:
    for _ in range(2):
        with DataFolderLock(tmp_path):
            assert (tmp_path / LOCK_NAME).read_text() == f"{os.getpid()}\n"


def test_a_file_left_by_a_dead_process_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).write_text("999999999999\n")
    with DataFolderLock(tmp_path):
        assert (tmp_path / LOCK_NAME).read_text() == f"{os.getpid()}\n"
