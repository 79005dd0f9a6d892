"""Files that a process left behind which was killed while it wrote them."""

from datetime import datetime
from pathlib import Path


def remove_old_files(folder: Path, pattern: str, untouched_since: datetime) -> int:
    """Remove files of the folder that nobody has written to since then; how many there were.

    What is somebody else's, or is gone by the time, is passed over.
    """
    oldest = untouched_since.timestamp()
    return sum(_removed(file, oldest) for file in folder.glob(pattern))


def _removed(file: Path, oldest: float) -> bool:
    try:
        if file.lstat().st_mtime >= oldest:
            return False
        file.unlink()
    except OSError:
        return False
    return True
