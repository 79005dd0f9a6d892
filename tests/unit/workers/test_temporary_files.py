import tempfile
from pathlib import Path

import pytest

from workers.temporary_files import delete_temporary_files, temporary_files_of_its_own


def test_temporary_files_go_with_the_training() -> None:
    before = tempfile.gettempdir()
    with pytest.raises(RuntimeError), temporary_files_of_its_own():
        left = Path(tempfile.mkdtemp())
        raise RuntimeError
    assert not left.exists()
    assert before in str(left)
    assert tempfile.gettempdir() == before


def test_a_process_that_is_ended_deletes_its_own_alone() -> None:
    kept = Path(tempfile.mkdtemp())
    delete_temporary_files()
    assert kept.exists()
    with temporary_files_of_its_own():
        left = Path(tempfile.mkdtemp())
        delete_temporary_files()
        assert not left.exists()
    kept.rmdir()
