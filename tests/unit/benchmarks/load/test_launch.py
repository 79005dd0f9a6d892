"""What a benchmark launches does not outlive it."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil

PROGRAM = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from benchmarks.load.launch import Command, launched, stop_children_when_killed

    stop_children_when_killed()
    words = [sys.executable, "-c", sys.argv[2]]
    folder = Path(sys.argv[1])
    command = Command(words=words, environment={}, folder=folder, log=folder / "log")
    with launched(command) as server:
        server.wait_until(lambda: "ready" in server.said())
        print(server.pid, flush=True)
        time.sleep(600)
    """
)
SERVER = textwrap.dedent(
    """
    import signal, time

    signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs the tests may ignore it
    print("ready", flush=True)
    time.sleep(600)
    """
)


def test_a_plain_kill_stops_what_was_launched(tmp_path: Path) -> None:
    words = [sys.executable, "-c", PROGRAM, str(tmp_path), SERVER]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as program:
        assert program.stdout is not None
        launched = psutil.Process(int(program.stdout.readline()))
        program.send_signal(signal.SIGTERM)
        program.wait(30)
    assert not launched.is_running()
