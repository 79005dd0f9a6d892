"""The supervisor over real processes: Valkey and small Python children."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import redis

from core.errors import FailedPrecondition
from core.task_names import heartbeat_key
from services.supervisor import preflight
from services.supervisor.lock import DataFolderLock
from services.supervisor.processes import Child, ProcessSpec
from services.supervisor.readiness import gateway_serves, worker_lives
from services.supervisor.reaper import Reaper
from services.supervisor.supervisor import RestartPolicy, Supervisor
from services.supervisor.valkey import broker_url, private_folder, valkey_spec
from tests.conftest import wait_for

SLEEP = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"
WITH_CHILD = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {STUBBORN!r}])
print("child", child.pid, flush=True)
{SLEEP}
"""


@pytest.fixture
def reaper() -> Iterator[Reaper]:
    running = Reaper()
    yield running
    running.close()


Make = Callable[..., Child]


@pytest.fixture
def make(tmp_path: Path, reaper: Reaper) -> Iterator[Make]:
    made: list[Child] = []

    def make(name: str, code: str, *, phase: int = 0, grace: float = 10.0) -> Child:
        spec = ProcessSpec(
            name=name,
            command=(sys.executable, "-c", code),
            environment=os.environ,
            folder=tmp_path,
            log=tmp_path / f"{name}.log",
            stop_phase=phase,
            grace_seconds=grace,
        )
        made.append(Child(spec, reaper))
        return made[-1]

    yield make
    for child in made:
        child.kill()


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def printed_pid(log: Path) -> int:
    """The pid that a WITH_CHILD process has printed."""
    wait_for(lambda: log.exists() and "child" in log.read_text(), "no child was started")
    line = next(line for line in log.read_text().splitlines() if line.startswith("child"))
    return int(line.split()[1])


def test_a_killed_child_is_restarted_and_its_own_children_are_gone(make: Make) -> None:
    child = make("worker", WITH_CHILD)
    said: list[str] = []
    policy = lambda: RestartPolicy(first_delay=0.05)  # noqa: E731
    supervisor = Supervisor([child], say=said.append, policy=policy)
    supervisor.start()
    first = child.pid
    assert first is not None
    grandchild = printed_pid(child.spec.log)
    os.kill(first, signal.SIGKILL)

    def restarted() -> bool:
        supervisor.tick()
        return child.pid not in {None, first}

    wait_for(restarted, "it was not restarted")
    wait_for(lambda: not alive(grandchild), "the pool's child outlived its parent")
    assert "SIGKILL" in said[0]
    supervisor.stop(hurry=lambda: True)


def test_a_child_that_keeps_dying_is_given_up_with_its_last_words(make: Make) -> None:
    child = make("worker", "import sys; sys.exit('no model folder')")
    policy = lambda: RestartPolicy(first_delay=0.01)  # noqa: E731
    supervisor = Supervisor([child], say=lambda _: None, policy=policy)
    supervisor.start()

    def given_up() -> bool:
        try:
            supervisor.tick()
        except FailedPrecondition as error:
            assert "died 4 times" in error.message
            assert "no model folder" in error.message
            return True
        return False

    wait_for(given_up, "it was not given up")


def test_stopping_is_in_order_and_ends_the_stubborn(make: Make) -> None:
    note = (
        "import signal, sys, time\ndef end(*_):\n    open('order', 'a').write({!r})\n    sys.exit()"
    )
    note += f"\nsignal.signal(signal.SIGTERM, end)\n{SLEEP}"
    children = [
        make("broker", note.format("broker "), phase=2),
        make("gateway", note.format("gateway "), phase=0),
        make("worker", STUBBORN, phase=1, grace=0.3),
    ]
    supervisor = Supervisor(children, say=lambda _: None)
    supervisor.start()
    pids = [child.pid for child in children]
    for child in children:
        log = child.spec.log
        wait_for(lambda log=log: "up" in log.read_text(), "it did not start")
    supervisor.stop()
    assert (children[0].spec.folder / "order").read_text() == "gateway broker "
    assert not any(alive(pid) for pid in pids if pid)


SUPERVISOR = """
import os, sys, time
from pathlib import Path
from services.supervisor.processes import Child, ProcessSpec
from services.supervisor.reaper import Reaper

folder = Path(sys.argv[1])
reaper = Reaper()
spec = ProcessSpec(name="worker", command=(sys.executable, "-c", sys.argv[2]),
                   environment=os.environ, folder=folder, log=folder / "worker.log")
child = Child(spec, reaper)
child.start()
print(child.pid, reaper.pid, flush=True)
time.sleep(600)
"""


def test_children_and_theirs_die_with_a_killed_supervisor(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SUPERVISOR, str(tmp_path), WITH_CHILD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        child, reaper = map(int, supervisor.stdout.readline().split())
        grandchild = printed_pid(tmp_path / "worker.log")
        assert alive(child)
        supervisor.kill()
    wait_for(lambda: not alive(child), "the child outlived its supervisor")
    wait_for(lambda: not alive(grandchild), "the child's child outlived the supervisor")
    wait_for(lambda: not alive(reaper), "the reaper stayed")


def test_a_killed_reaper_is_replaced_and_knows_every_group() -> None:
    reaper = Reaper()
    with sleeper() as first, sleeper() as second:
        reaper.add(first.pid)
        killed = reaper.pid
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: not alive(killed), "the reaper did not die")
        reaper.add(second.pid)
        assert reaper.pid != killed
        reaper.close()
        assert first.wait(10) == second.wait(10) == -signal.SIGTERM


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SLEEP], start_new_session=True)


def test_the_lock_holds_across_processes_and_ends_with_its_owner(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from services.supervisor.lock import DataFolderLock\n"
        "with DataFolderLock(Path(sys.argv[1])): print('locked', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "locked\n"
        with (
            pytest.raises(FailedPrecondition, match=f"process {owner.pid}"),
            DataFolderLock(tmp_path),
        ):
            pass
        owner.kill()
    with DataFolderLock(tmp_path):
        pass


@pytest.fixture
def broker(tmp_path: Path, reaper: Reaper) -> Iterator[tuple[Child, str]]:
    folder = private_folder(Path("/tmp"))
    child = Child(valkey_spec(folder, tmp_path, tmp_path / "broker.log", os.environ), reaper)
    child.start()
    yield child, broker_url(folder)
    child.kill()
    (folder / "valkey.sock").unlink(missing_ok=True)
    folder.rmdir()


def broker_answers(url: str) -> bool:
    try:
        preflight.check_broker(url)
    except FailedPrecondition:
        return False
    return True


def test_the_embedded_broker_works_and_comes_back_on_the_same_socket(
    broker: tuple[Child, str],
) -> None:
    child, url = broker
    wait_for(lambda: broker_answers(url), "the broker did not start")
    with redis.Redis.from_url(url) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    child.kill()
    assert not broker_answers(url)
    child.start()
    wait_for(lambda: broker_answers(url), "the broker did not come back")


def test_a_worker_lives_while_its_heartbeat_does(broker: tuple[Child, str]) -> None:
    _, url = broker
    wait_for(lambda: broker_answers(url), "the broker did not start")
    assert not worker_lives(url, "inference@here.1")
    with redis.Redis.from_url(url) as client:
        client.set(heartbeat_key("inference@here.1#abcd"), 1)
    assert worker_lives(url, "inference@here.1")
    assert not worker_lives(url, "training@here.1")


def test_a_port_in_use_is_named() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(FailedPrecondition, match="Port in use"):
            preflight.check_port(address)
        assert not gateway_serves("127.0.0.1:1")
    preflight.check_port(address)
