"""The reaper's own process; see :mod:`services.supervisor.reaper`. Standard library only."""

import os
import signal
import sys
import time
from collections.abc import Iterable

GRACE_SECONDS = 2.0


def live_groups(lines: Iterable[str]) -> set[int]:
    """The groups that are still listed when the lines end: ``+N`` lists one, ``-N`` strikes it."""
    groups: set[int] = set()
    for line in lines:
        group = int(line[1:])
        if line.startswith("+"):
            groups.add(group)
        else:
            groups.discard(group)
    return groups


def end(groups: set[int], grace: float = GRACE_SECONDS) -> None:
    """SIGTERM, and SIGKILL for what is left after ``grace`` seconds."""
    remaining = {group for group in groups if _signal(group, signal.SIGTERM)}
    deadline = time.monotonic() + grace
    while remaining and time.monotonic() < deadline:
        time.sleep(0.05)
        remaining = {group for group in remaining if _signal(group, 0)}
    for group in remaining:
        _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    end(live_groups(sys.stdin))
