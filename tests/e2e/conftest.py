"""The whole stack as a user starts it: ``braintumor up`` and the ``braintumor`` command."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BRAINTUMOR = Path(sys.executable).parent / "braintumor"
START_SECONDS = 60.0


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


class Stack:
    """``braintumor up`` on a data folder of its own; what it says is the last start's."""

    def __init__(self, data_dir: Path, *, starter: bool = False) -> None:
        self.data_dir = data_dir
        self._starter = starter
        self._output = data_dir.parent / "up.log"
        self.address = free_address()
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        with self._output.open("w") as output:
            self._process = subprocess.Popen(
                [BRAINTUMOR, "up", "--data-dir", str(self.data_dir), "--address", self.address],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                text=True,
                env=self._environment(),
            )
        end = time.monotonic() + START_SECONDS
        while "ready" not in self.said():
            assert self._process.poll() is None, self.said()
            assert time.monotonic() < end, self.said() + self._logs()
            time.sleep(0.05)

    def stop(self) -> int:
        """Ctrl-C; the exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(60)

    def kill_if_running(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.stop()

    def said(self) -> str:
        return self._output.read_text()

    def run(self, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        """Run the command as a user would, from a folder that is not the project's."""
        done = subprocess.run(
            [BRAINTUMOR, *arguments],
            capture_output=True,
            text=True,
            timeout=280,
            cwd=self.data_dir.parent,
            env=self._environment() | {"BRAINTUMOR_ADDRESS": self.address},
            check=False,
        )
        assert done.returncode == expect, f"{arguments}\n{done.stdout}\n{done.stderr}{self._logs()}"
        return done

    def rows(self, *arguments: str, expect: int = 0) -> list[dict[str, Any]]:
        """The JSON Lines that the command prints."""
        done = self.run(*arguments, "--json", expect=expect)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def _environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("BRAINTUMOR_")}
        own = {"XDG_DATA_HOME": str(self.data_dir.parent)}
        return kept | own | {"BRAINTUMOR_STARTER_MODEL": str(int(self._starter))}

    def _logs(self) -> str:
        logs = sorted((self.data_dir / "logs").glob("*.log"))
        return "".join(f"\n--- {log.name}\n{log.read_text()[-3000:]}" for log in logs)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with tempfile.TemporaryDirectory(prefix="bt", dir="/tmp") as folder:
        running = Stack(Path(folder) / "data")
        running.start()
        yield running
        running.kill_if_running()
