"""Temporary files that go with a training, however it ends.

TensorFlow deletes what it has generated when its process exits, and a child of Celery's never does:
it is ended.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_PREFIX: Final = "braintumor-training-"


@contextmanager
def temporary_files_of_its_own() -> Iterator[None]:
    """While the block runs, temporary files are made in a folder that goes with it."""
    before = tempfile.tempdir
    # A file that is still open cannot be deleted everywhere: no training is lost for it.
    with tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as folder:
        tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = before


def delete_temporary_files() -> None:
    """For a process that is ended within such a block."""
    folder = tempfile.tempdir
    if folder is not None and _PREFIX in folder:
        shutil.rmtree(folder, ignore_errors=True)
