"""This service, started by ``braintumor up``."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from braintumor.v1 import classifier_pb2, labels_pb2

from benchmarks.load.grpc_system import Dialect, GrpcSystem
from benchmarks.load.launch import Command, free_port, launched
from benchmarks.load.processes import Roles
from benchmarks.load.scans import Scans
from benchmarks.load.system import Running, System
from core.settings import Settings

ON_SQLITE: Final = "service, SQLite"
ON_POSTGRESQL: Final = "service, PostgreSQL"
NAMES: Final = (ON_SQLITE, ON_POSTGRESQL)

ROLES: Final = Roles(
    root="supervisor",
    markers={
        "services.server": "gateway",
        "valkey": "broker",
        "inference@": "inference worker",
        "curation@": "curation worker",
        "training@": "training worker",
        "reaper": "reaper",
    },
)
SERVING: Final = frozenset({"gateway", "broker", "inference worker"})

_READY: Final = "braintumor is ready"
_OWN: Final = ("BRAINTUMOR_ADDRESS", "BRAINTUMOR_DATA_DIR", "BRAINTUMOR_BROKER_URL", "BROKER_URL")
_DATABASE: Final = ("BRAINTUMOR_DATABASE_URL", "DATABASE_URL")


def service(name: str, home: Path, scans: Scans, database_url: str | None = None) -> System:
    """With everything in the folder ``home``; the audit log too, unless a database is given."""
    home.mkdir()
    return System(name, partial(_started, home, scans, environment(database_url)))


def environment(database_url: str | None = None) -> dict[str, str]:
    """This process's, without what the benchmark decides itself; the user's tuning stays."""
    kept = {name: text for name, text in os.environ.items() if name not in (*_OWN, *_DATABASE)}
    return kept | ({"DATABASE_URL": database_url} if database_url else {})


def settings(home: Path) -> Settings:
    """What the service's processes run by."""
    return Settings.from_environment(environment(), data_dir=home)


def _label_of(reply: bytes) -> str:
    answer = classifier_pb2.ClassifyResponse.FromString(reply)
    return labels_pb2.TumorLabel.Name(answer.label).removeprefix("TUMOR_LABEL_").lower()


DIALECT: Final = Dialect(
    method="/braintumor.v1.Classifier/Classify",
    request_for=lambda scan: classifier_pb2.ClassifyRequest(image=scan).SerializeToString(),
    label_of=_label_of,
)


@contextmanager
def _started(home: Path, scans: Scans, environ: Mapping[str, str]) -> Iterator[Running]:
    address = f"127.0.0.1:{free_port()}"
    braintumor = str(Path(sys.executable).parent / "braintumor")
    command = Command(
        words=(braintumor, "up", "--data-dir", str(home / "data"), "--address", address),
        environment=environ,
        folder=home,
        log=home / "up.log",
    )
    with launched(command) as server:
        server.wait_until(lambda: _READY in server.said())
        running = GrpcSystem(
            address=address,
            dialect=DIALECT,
            requests=[DIALECT.request_for(scan) for scan in scans.encoded],
            pid=server.pid,
            roles=ROLES,
            serving=SERVING,
        )
        server.wait_until(running.answers)
        yield running
