"""This service, started by ``braintumor up``."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from braintumor.v1 import classifier_pb2, labels_pb2
from google.rpc import code_pb2

from benchmarks.load.grpc_system import Dialect, GrpcSystem, StreamDialect
from benchmarks.load.launch import Command, free_port, launched
from benchmarks.load.model import Model
from benchmarks.load.processes import Roles
from benchmarks.load.scans import Scans
from benchmarks.load.system import Running, System
from core.settings import Settings
from db.artefacts import FsspecArtefactStore
from db.engine import create_store_engine
from db.migrate import upgrade
from db.unit_of_work import SqlUnitOfWorkFactory
from services.bootstrap import SystemClock
from workers.starter import install_starter

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


def service(
    name: str, home: Path, model: Model, scans: Scans, database_url: str | None = None
) -> System:
    """With everything in the folder ``home``; the audit log too, unless a database is given."""
    home.mkdir()
    start = partial(_started, home, model, scans, environment(database_url))
    return System(name, start, bounded=True)


def environment(database_url: str | None = None) -> dict[str, str]:
    """This process's, without what the benchmark decides itself; the user's tuning stays."""
    kept = {name: text for name, text in os.environ.items() if name not in (*_OWN, *_DATABASE)}
    return kept | ({"DATABASE_URL": database_url} if database_url else {})


def settings(home: Path) -> Settings:
    """What the service's processes run by."""
    return Settings.from_environment(environment(), data_dir=home)


def up(home: Path, address: str) -> tuple[str, ...]:
    """The command that starts everything with its data in ``home``."""
    braintumor = str(Path(sys.executable).parent / "braintumor")
    return (braintumor, "up", "--data-dir", str(home), "--address", address)


def install(model: Model, found: Settings) -> None:
    """Have the service of these settings serve the model from its first start on."""
    upgrade(found.database_url)
    uow_factory = SqlUnitOfWorkFactory(create_store_engine(found.database_url))
    try:
        install_starter(
            store=FsspecArtefactStore(found.artefact_url),
            uow_factory=uow_factory,
            clock=SystemClock(),
            path=model.package,
        )
    finally:
        uow_factory.close()


def _label_of(reply: bytes) -> str:
    answer = classifier_pb2.ClassifyResponse.FromString(reply)
    return labels_pb2.TumorLabel.Name(answer.label).removeprefix("TUMOR_LABEL_").lower()


def _stream_request(request: bytes) -> bytes:
    single = classifier_pb2.ClassifyRequest.FromString(request)
    return classifier_pb2.ClassifyStreamRequest(request=single).SerializeToString()


def _status_of(reply: bytes) -> str | None:
    answer = classifier_pb2.ClassifyStreamResponse.FromString(reply)
    if not answer.HasField("error"):
        return None
    return str(code_pb2.Code.Name(answer.error.code))


DIALECT: Final = Dialect(
    method="/braintumor.v1.Classifier/Classify",
    request_for=lambda scan: classifier_pb2.ClassifyRequest(image=scan).SerializeToString(),
    label_of=_label_of,
    stream=StreamDialect(
        method="/braintumor.v1.Classifier/ClassifyStream",
        request_for=_stream_request,
        status_of=_status_of,
    ),
)


@contextmanager
def _started(
    home: Path, model: Model, scans: Scans, environ: Mapping[str, str]
) -> Iterator[Running]:
    install(model, Settings.from_environment(environ, data_dir=home / "data"))
    address = f"127.0.0.1:{free_port()}"
    command = Command(
        words=up(home / "data", address),
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
