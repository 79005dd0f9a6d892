"""The word that a worker is told to stop, from its process to the child that trains.

Celery waits for the task that runs, be it for hours, and tells its child nothing.
"""

import multiprocessing
from typing import Final

_LEAVING: Final = multiprocessing.get_context("fork").Event()
"""Made before any child is, which shares it."""


def leave() -> None:
    """Say so, in the worker's process."""
    _LEAVING.set()


def is_leaving() -> bool:
    """Whether that was said, in that process or a child."""
    return _LEAVING.is_set()
