"""How much memory there is, and whether a recipe can fit in it."""

import os
from pathlib import Path
from typing import Final

from core.errors import TrainingFailed
from core.training import TrainingSpec

GIB: Final = 2**30
_MEMINFO: Final = Path("/proc/meminfo")
_CGROUP: Final = Path("/sys/fs/cgroup")


def available_memory() -> int:
    """Bytes that a new task can use without swapping, by the machine and by its container."""
    return min(_of_machine(), _of_container())


def check_training_memory(spec: TrainingSpec, bytes_per_slice: int, available: int) -> None:
    """Raise ``TrainingFailed`` if one step's activations alone are larger than the memory."""
    needed = spec.batch_size * bytes_per_slice
    if needed > available:
        raise TrainingFailed(
            f"A step over {spec.batch_size} slices of {spec.image_size} x {spec.image_size} pixels "
            f"needs at least {needed / GIB:.1f} GiB, and {available / GIB:.1f} GiB are free. Lower "
            "batch_size or image_size."
        )


def _of_machine() -> int:
    if _MEMINFO.exists():
        for line in _MEMINFO.read_text().splitlines():
            name, _, rest = line.partition(":")
            if name == "MemAvailable":
                return int(rest.split()[0]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _of_container() -> int:
    """What the control group (version 2) leaves; more than any machine has where there is none."""
    limit, used = _number(_CGROUP / "memory.max"), _number(_CGROUP / "memory.current")
    return 2**63 if limit is None or used is None else max(limit - used, 0)


def _number(path: Path) -> int | None:
    """The file's number; None for "max" or no file."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
