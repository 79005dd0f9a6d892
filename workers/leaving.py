"""The word that a worker is told to stop, from its process to the child that trains.

Celery waits for the task that runs, be it for hours, and tells its child nothing.
"""

import mmap
from typing import Final

_WORD: Final = mmap.mmap(-1, 1)
"""A byte that is shared with every child that is forked later. No lock is around it: it is written
in a signal's handler, and a child may be killed at any moment."""


def leave() -> None:
    """Say so, in the worker's process."""
    _WORD[0] = 1


def is_leaving() -> bool:
    """Whether that was said, in that process or a child."""
    return bool(_WORD[0])
