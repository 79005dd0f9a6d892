"""The supervisor over fake children and a clock that only moves when told."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from core.errors import FailedPrecondition
from services.supervisor.processes import ProcessSpec
from services.supervisor.supervisor import RestartPolicy, Supervisor, describe_exit


class FakeTime:
    def __init__(self) -> None:
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class FakeChild:
    """Lives until it is told to end; may be stubborn about it."""

    def __init__(
        self, name: str, log: list[str], *, phase: int = 0, stubborn: bool = False
    ) -> None:
        self.spec = ProcessSpec(
            name=name,
            command=("true",),
            environment=_NOTHING,
            folder=Path(),
            log=Path(f"{name}.log"),
            stop_phase=phase,
            grace_seconds=3.0,
        )
        self.pid: int | None = None
        self.status: int | None = None
        self.starts = 0
        self._log = log
        self._stubborn = stubborn

    def start(self) -> None:
        self.starts += 1
        self.pid, self.status = self.starts, None

    def poll(self) -> int | None:
        """A death is told once, as by the real one."""
        if self.pid is None:
            return None
        if self.status is not None:
            self.pid = None
        return self.status

    def terminate(self) -> None:
        self._log.append(f"terminate {self.spec.name}")
        if not self._stubborn:
            self.status = 0

    def kill(self) -> None:
        if self.status is None:
            self._log.append(f"kill {self.spec.name}")
        self.status = -9

    def last_lines(self) -> tuple[str, ...]:
        return ("the last straw",)


_NOTHING: Mapping[str, str] = {}


class World:
    def __init__(self, *names: str) -> None:
        self.log: list[str] = []
        self.said: list[str] = []
        self.time = FakeTime()
        self.children = [FakeChild(name, self.log) for name in names]

    def supervisor(self) -> Supervisor:
        return Supervisor(
            self.children,
            say=self.said.append,
            clock=self.time.clock,
            sleep=self.time.sleep,
            policy=RestartPolicy,
        )


def test_a_dead_child_is_started_again_after_its_delay() -> None:
    world = World("gateway", "worker")
    supervisor = world.supervisor()
    supervisor.start()
    gateway, worker = world.children
    gateway.status = -9
    supervisor.tick()
    assert gateway.starts == 1
    world.time.now = 0.4
    supervisor.tick()
    assert gateway.starts == 1
    world.time.now = 0.5
    supervisor.tick()
    supervisor.tick()
    assert (gateway.starts, worker.starts) == (2, 1)


def test_a_restart_is_announced_once_with_cause_and_log() -> None:
    world = World("gateway")
    supervisor = world.supervisor()
    supervisor.start()
    world.children[0].status = -9
    supervisor.tick()
    supervisor.tick()
    (line,) = world.said
    assert "gateway" in line
    assert "SIGKILL" in line
    assert "gateway.log" in line


def test_a_child_that_keeps_dying_is_given_up_with_the_end_of_its_log() -> None:
    world = World("worker")
    supervisor = world.supervisor()
    supervisor.start()
    for _ in range(3):
        world.children[0].status = 1
        supervisor.tick()
        world.time.now += 5
        supervisor.tick()
    world.children[0].status = 1
    with pytest.raises(FailedPrecondition) as caught:
        supervisor.tick()
    assert "worker died 4 times" in caught.value.message
    assert "the last straw" in caught.value.message


def test_nobody_waits_for_the_end_of_what_is_dead() -> None:
    world = World("a", "b")
    supervisor = world.supervisor()
    supervisor.start()
    world.children[0].status = 1
    supervisor.tick()
    world.children[1].status = 1
    begin = world.time.now
    supervisor.stop()
    assert world.time.now == begin


def test_stopping_goes_phase_by_phase() -> None:
    world = World()
    world.children = [
        FakeChild("broker", world.log, phase=2),
        FakeChild("gateway", world.log, phase=0, stubborn=True),
        FakeChild("worker", world.log, phase=1),
    ]
    supervisor = world.supervisor()
    supervisor.start()
    supervisor.stop()
    assert world.log == [
        "terminate gateway",
        "kill gateway",
        "terminate worker",
        "terminate broker",
    ]
    assert world.time.now == pytest.approx(3.0, abs=0.1)


def test_children_of_a_phase_share_one_grace() -> None:
    world = World()
    world.children = [FakeChild(n, world.log, stubborn=True) for n in ("a", "b")]
    supervisor = world.supervisor()
    supervisor.start()
    supervisor.stop()
    assert world.log == ["terminate a", "terminate b", "kill a", "kill b"]
    assert world.time.now == pytest.approx(3.0, abs=0.1)


def test_hurry_cuts_the_grace_short() -> None:
    world = World()
    world.children = [FakeChild("a", world.log, stubborn=True)]
    supervisor = world.supervisor()
    supervisor.start()
    supervisor.stop(hurry=lambda: True)
    assert world.time.now == 0
    assert world.log == ["terminate a", "kill a"]


@pytest.mark.parametrize(
    ("status", "words"),
    [(1, "exit status 1"), (-15, "SIGTERM"), (-250, "signal 250")],
)
def test_exits_are_described(status: int, words: str) -> None:
    assert words in describe_exit(status)
