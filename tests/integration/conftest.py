"""Real servers and worker processes for the integration tests."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from core.settings import Settings
from core.task_names import heartbeat_key
from tests.conftest import Valkey, wait_for

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def settings(tmp_path: Path, valkey: Valkey, sqlite_url: str) -> Settings:
    return Settings.from_environment(
        {},
        data_dir=tmp_path,
        broker_url=valkey.url,
        database_url=sqlite_url,
        starter_model=False,
    )


@dataclass
class Worker:
    """A Celery worker process."""

    process: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()


class Workers:
    """Starts workers and waits until they are ready."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._started: list[Worker] = []

    def start(self, queues: str = "inference,curation") -> Worker:
        log = self._folder / f"worker{len(self._started)}.log"
        pool = ["-P", "threads", "-c", "4"]
        if queues == "training":
            pool = ["-P", "prefork", "-c", "1", "--max-tasks-per-child=1"]
        name = f"{queues.split(',', maxsplit=1)[0]}{len(self._started)}@test"
        command = [sys.executable, "-m", "celery", "-A", "workers.celery_app", "worker"]
        command += ["-Q", queues, *pool, "-n", name, "--without-gossip", "--without-mingle"]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                env=os.environ | self._settings.to_environment() | {"C_FORCE_ROOT": "1"},
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                start_new_session=True,
            )
        worker = Worker(process, log)
        self._started.append(worker)
        client = redis.Redis.from_url(self._settings.broker_url)
        wait_for(
            lambda: process.poll() is not None or client.keys(heartbeat_key(f"{name}*")),
            f"the worker did not start: {log}",
        )
        assert process.poll() is None, log.read_text()
        client.close()
        return worker

    def stop(self) -> None:
        for worker in self._started:
            worker.stop()


@pytest.fixture
def workers(settings: Settings, tmp_path: Path) -> Iterator[Workers]:
    started = Workers(settings, tmp_path)
    yield started
    started.stop()
