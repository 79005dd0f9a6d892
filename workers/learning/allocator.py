"""glibc's allocator, told to keep what a training step gives back for the next one.

Each step asks for the same few hundred megabytes of layer outputs. By default glibc returns large
pieces to the system at once, which then has to clear them for the next step: with EfficientNetB0
that was a fifth of a training's processor time, in page faults, and next to nothing when kept.
The largest resident set stays what it was, since every step needs as much as the one before.
"""

import ctypes
import logging
from typing import Final

log = logging.getLogger(__name__)

_TRIM_THRESHOLD: Final = -1
_MMAP_MAX: Final = -4
_ARENA_MAX: Final = -8
"""Names of the parameters in ``malloc.h``."""
_NEVER: Final = 2**31 - 1
_OPTIONS: Final = ((_TRIM_THRESHOLD, _NEVER), (_MMAP_MAX, 0), (_ARENA_MAX, 1))


def keep_freed_memory() -> bool:
    """Whether it was done: other C libraries than glibc go without."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    kept = [bool(mallopt(name, value)) for name, value in _OPTIONS]
    log.debug("allocator_keeps_memory options=%s", kept)
    return all(kept)
