"""CPU time and memory of processes, by what they do."""

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import psutil

from benchmarks.load.measurement import ProcessUse

CLIENT: Final = "client"
"""The role of the load generator's own process."""
OTHER: Final = "other"
_SAMPLE_SECONDS: Final = 0.1


@dataclass(frozen=True)
class Roles:
    """How to tell what a process of a system does.

    ``root`` is the one that was started; a descendant has the role of the first of ``markers``
    that is in its command line.
    """

    root: str
    markers: Mapping[str, str]

    def of(self, command: Sequence[str]) -> str:
        """The role of a descendant with this command line."""
        line = " ".join(command)
        return next((role for marker, role in self.markers.items() if marker in line), OTHER)


@dataclass(frozen=True)
class Tracked:
    """A process and its role."""

    role: str
    process: psutil.Process


def this_process(role: str) -> Tracked:
    return Tracked(role, psutil.Process())


def processes_of(pid: int, roles: Roles) -> list[Tracked]:
    """The process with this number and all that descend from it."""
    root = psutil.Process(pid)
    found = [Tracked(roles.root, root)]
    for process in root.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            found.append(Tracked(roles.of(process.cmdline()), process))
    return found


class Meter:
    """What processes take from :meth:`start` to :meth:`stop`. Each meter is used once.

    Memory is sampled. The CPU time of a process that ends in between is not known, and counts 0.
    """

    def __init__(self, tracked: Sequence[Tracked]) -> None:
        self._tracked = tracked
        self._cpu_before: dict[psutil.Process, float] = {}
        self._peaks: Counter[str] = Counter()
        self._stopped = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)

    def start(self) -> None:
        self._cpu_before = {t.process: _cpu_seconds(t.process) for t in self._tracked}
        self._sampler.start()

    def stop(self) -> dict[str, ProcessUse]:
        """What each role took."""
        cpu = self._cpu_since_start()
        self._stopped.set()
        self._sampler.join()
        roles = dict.fromkeys(t.role for t in self._tracked)
        return {r: ProcessUse(cpu_seconds=cpu[r], peak_bytes=self._peaks[r]) for r in roles}

    def _cpu_since_start(self) -> Mapping[str, float]:
        used = {t.role: 0.0 for t in self._tracked}
        for t in self._tracked:
            used[t.role] += max(_cpu_seconds(t.process) - self._cpu_before[t.process], 0.0)
        return used

    def _sample(self) -> None:
        while True:
            self._note_memory()
            if self._stopped.wait(_SAMPLE_SECONDS):
                return

    def _note_memory(self) -> None:
        now: Counter[str] = Counter()
        for t in self._tracked:
            now[t.role] += _resident_bytes(t.process)
        self._peaks |= now


def _cpu_seconds(process: psutil.Process) -> float:
    """In user and system mode; 0 once it has ended."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def _resident_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
