"""MLServer with the same graph: what a user would pick instead.

It classifies only: no audit log, no calibration, no abstention.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks.load.grpc_system import GrpcSystem
from benchmarks.load.launch import Command, free_port, launched
from benchmarks.load.mlserver_environment import MlServerEnvironment
from benchmarks.load.model import Model
from benchmarks.load.open_inference import open_inference_dialect
from benchmarks.load.processes import OTHER, Roles
from benchmarks.load.scans import Scans
from benchmarks.load.system import Running, System

NAME: Final = "MLServer"
BATCH_SIZE: Final = 8
BATCH_SECONDS: Final = 0.005
"""How long its batcher waits for more."""

ROLES: Final = Roles(root="server", markers={"spawn_main": "inference worker"})
SERVING: Final = frozenset({"server", "inference worker", OTHER})

_MODEL: Final = "classifier"
_READY: Final = f"Loaded model '{_MODEL}'"
_RUNTIME: Final = "benchmarks.load.mlserver_runtime.ScanClassifier"
_REPOSITORY: Final = Path(__file__).resolve().parents[2]


def mlserver(home: Path, installed: MlServerEnvironment, model: Model, scans: Scans) -> System:
    """With its settings and its log in the folder ``home``."""
    home.mkdir()
    return System(NAME, partial(_started, home, installed, model, scans))


def server_settings(grpc_port: int) -> dict[str, Any]:
    """``settings.json``. Debugging is on by default, and writes a line a request."""
    return {
        "debug": False,
        "host": "127.0.0.1",
        "grpc_port": grpc_port,
        "http_port": free_port(),
        "metrics_port": free_port(),
    }


def model_settings(model: Model) -> dict[str, Any]:
    """``model-settings.json``, with adaptive batching."""
    return {
        "name": _MODEL,
        "implementation": _RUNTIME,
        "max_batch_size": BATCH_SIZE,
        "max_batch_time": BATCH_SECONDS,
        "parameters": {"uri": str(model.graph), "extra": {"image_size": model.image_size}},
    }


@contextmanager
def _started(
    home: Path, installed: MlServerEnvironment, model: Model, scans: Scans
) -> Iterator[Running]:
    port = free_port()
    (home / "settings.json").write_text(json.dumps(server_settings(port)))
    (home / "model-settings.json").write_text(json.dumps(model_settings(model)))
    command = Command(
        words=(str(installed.command("mlserver")), "start", str(home)),
        environment=os.environ | {"PYTHONPATH": str(_REPOSITORY)},
        folder=home,
        log=home / "mlserver.log",
    )
    dialect = open_inference_dialect(installed.protocol(), _MODEL)
    with launched(command) as server:
        running = GrpcSystem(
            address=f"127.0.0.1:{port}",
            dialect=dialect,
            requests=[dialect.request_for(scan) for scan in scans.encoded],
            pid=server.pid,
            roles=ROLES,
            serving=SERVING,
        )
        server.wait_until(lambda: _READY in server.said())
        server.wait_until(running.answers)
        yield running
