"""Health checks as docker-compose.yml runs them, against the processes that it starts."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
import redis
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import HealthServicer

from core.settings import Settings
from core.task_names import heartbeat_key
from tests.conftest import wait_for
from tests.integration.conftest import ROOT
from workers.healthcheck import CeleryWorkerView, problem_with

QUEUES = ["inference"]
NODE = "inference@health.test"

pytestmark = pytest.mark.timeout(120)


def compose_service(name: str) -> dict[str, Any]:
    text = (ROOT / "docker-compose.yml").read_text()
    service: dict[str, Any] = yaml.safe_load(text)["services"][name]
    return service


def health_command(service: str) -> list[str]:
    kind, *command = compose_service(service)["healthcheck"]["test"]
    assert kind == "CMD"
    return [sys.executable if word == "python" else word for word in command]


def check(service: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        health_command(service),
        env=os.environ | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def view(settings: Settings) -> Iterator[CeleryWorkerView]:
    view = CeleryWorkerView(settings, NODE)
    yield view
    view.close()


@pytest.fixture
def worker(settings: Settings, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The inference worker by the command of docker-compose.yml."""
    program, *options = compose_service("inference")["command"]
    assert program == "celery"
    with (tmp_path / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", *options],
            env=os.environ | settings.to_environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            start_new_session=True,
        )
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


def test_a_real_worker(worker: subprocess.Popen[bytes], settings: Settings, tmp_path: Path) -> None:
    environment = settings.to_environment()
    client = redis.Redis.from_url(settings.broker_url)
    wait_for(
        lambda: worker.poll() is not None or client.keys(heartbeat_key("inference@*")),
        "the worker did not start",
    )
    assert worker.poll() is None, (tmp_path / "worker.log").read_text()

    well = check("inference", environment)
    assert well.returncode == 0, well.stderr

    os.killpg(worker.pid, signal.SIGKILL)
    wait_for(lambda: not client.keys(heartbeat_key("*")), "the heartbeat outlived the worker")
    client.close()
    dead = check("inference", environment)
    assert dead.returncode == 1
    assert "is not well. It has no heartbeat." in dead.stderr


def test_a_worker_that_consumes_other_queues(
    worker: subprocess.Popen[bytes], settings: Settings
) -> None:
    client = redis.Redis.from_url(settings.broker_url)
    wait_for(lambda: client.keys(heartbeat_key("inference@*")), "the worker did not start")
    (key,) = client.keys(heartbeat_key("inference@*"))
    client.close()
    node = os.fsdecode(key).removeprefix(heartbeat_key("")).partition("#")[0]
    view = CeleryWorkerView(settings, node)
    try:
        assert problem_with(view, QUEUES) is None
        assert problem_with(view, [*QUEUES, "training"]) == (
            "It no longer takes messages from training."
        )
        assert worker.poll() is None
    finally:
        view.close()


def test_a_heart_that_beats_without_a_consumer(view: CeleryWorkerView, settings: Settings) -> None:
    client = redis.Redis.from_url(settings.broker_url)
    client.set(heartbeat_key(f"{NODE}#1a2b3c4d"), b"1")
    client.close()
    assert problem_with(view, QUEUES) == "Its consumer does not answer."


def test_messages_that_wait_are_counted(view: CeleryWorkerView, settings: Settings) -> None:
    client = redis.Redis.from_url(settings.broker_url)
    client.rpush("inference", b"a", b"b")
    client.rpush("training", b"c")
    client.close()
    assert view.waiting(QUEUES) == 2
    assert view.waiting(["training"]) == 1


@pytest.fixture
def health() -> Iterator[tuple[str, HealthServicer]]:
    server = grpc.server(futures.ThreadPoolExecutor(1))
    servicer = HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}", servicer
    ended: threading.Event = server.stop(None)
    ended.wait(5)


def test_the_gateways_health_check(health: tuple[str, HealthServicer]) -> None:
    address, servicer = health
    servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    assert check("gateway", {"BRAINTUMOR_ADDRESS": address}).returncode == 0
    servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    draining = check("gateway", {"BRAINTUMOR_ADDRESS": address})
    assert draining.returncode == 1
    assert "does not report SERVING" in draining.stderr
