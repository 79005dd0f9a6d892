"""Which processes make up the system on one machine, and how they are told their settings."""

import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from core.settings import Settings
from core.task_names import CURATION_QUEUE, INFERENCE_QUEUE, TRAINING_QUEUE
from services.supervisor.address import bind_endpoint
from services.supervisor.processes import ProcessSpec

LOGS: Final = "logs"

_DRAIN_MARGIN: Final = 5.0
_INFERENCE_GRACE: Final = 10.0
_CURATION_GRACE: Final = 10.0
_TRAINING_GRACE: Final = 10.0
"""For a job to be put back. One that is cut off goes on from its last checkpoint too, but only
when its worker has not been heard of for a while."""

_FOREIGN: Final = ("DATABASE_URL", "BROKER_URL")
"""Read by ``Settings`` too; the children get what was made of them."""


def given_broker(environ: Mapping[str, str] = os.environ) -> str | None:
    """The broker that the environment names, or None for the embedded one."""
    return environ.get("BRAINTUMOR_BROKER_URL") or environ.get("BROKER_URL") or None


def local_settings(
    data_dir: Path | None, address: str | None, environ: Mapping[str, str] = os.environ
) -> Settings:
    """Settings of the stack of one person on one machine. Raises ``InvalidArgument``.

    A gateway that this machine alone can reach imports from the user's home folder unless the
    environment names other folders; one that the network can reach keeps the strict defaults.
    """
    overrides: dict[str, Any] = {}
    if data_dir is not None:
        overrides["data_dir"] = data_dir
    if address is not None:
        overrides["address"] = address
    settings = Settings.from_environment(environ, **overrides)
    if environ.get("BRAINTUMOR_IMPORT_ROOTS") or not bind_endpoint(settings.address).loopback:
        return settings
    overrides["import_roots"] = str(Path.home())
    return Settings.from_environment(environ, **overrides)


def child_environment(
    settings: Settings, environ: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """This process's environment with the settings in place of whatever set them."""
    kept = {
        name: value
        for name, value in environ.items()
        if not name.startswith("BRAINTUMOR_") and name not in _FOREIGN
    }
    return kept | settings.to_environment() | {"PYTHONUNBUFFERED": "1"}


def node_name(kind: str) -> str:
    """A Celery node name no other machine or start on a shared broker has."""
    return f"{kind}@{socket.gethostname()}.{os.getpid()}"


def gateway_spec(settings: Settings, environment: Mapping[str, str]) -> ProcessSpec:
    return ProcessSpec(
        name="gateway",
        command=(sys.executable, "-m", "services.server"),
        environment=environment,
        folder=settings.data_dir,
        log=log_path(settings, "gateway"),
        stop_phase=0,
        grace_seconds=settings.drain_seconds + _DRAIN_MARGIN,
    )


def inference_spec(settings: Settings, environment: Mapping[str, str]) -> ProcessSpec:
    return _worker_spec(
        "inference",
        ("-Q", INFERENCE_QUEUE, "-P", "threads", "-c", "4"),
        settings,
        environment,
        grace_seconds=_INFERENCE_GRACE,
    )


def curation_spec(settings: Settings, environment: Mapping[str, str]) -> ProcessSpec:
    """Apart from inference: a few large data sets would hold all threads for minutes."""
    return _worker_spec(
        "curation",
        ("-Q", CURATION_QUEUE, "-P", "threads", "-c", "2"),
        settings,
        environment,
        grace_seconds=_CURATION_GRACE,
    )


def training_spec(settings: Settings, environment: Mapping[str, str]) -> ProcessSpec:
    return _worker_spec(
        "training",
        ("-Q", TRAINING_QUEUE, "-P", "prefork", "-c", "1", "--max-tasks-per-child=1"),
        settings,
        environment,
        grace_seconds=_TRAINING_GRACE,
    )


def _worker_spec(
    kind: str,
    options: tuple[str, ...],
    settings: Settings,
    environment: Mapping[str, str],
    *,
    grace_seconds: float,
) -> ProcessSpec:
    celery = (sys.executable, "-m", "celery", "-A", "workers.celery_app", "worker")
    quiet = ("--without-gossip", "--without-mingle", "-l", "WARNING")
    return ProcessSpec(
        name=f"{kind} worker",
        command=(*celery, *options, "-n", node_name(kind), *quiet),
        environment=environment,
        # Not the caller's folder: python -m looks for modules there first.
        folder=settings.data_dir,
        log=log_path(settings, f"{kind}-worker"),
        stop_phase=1,
        grace_seconds=grace_seconds,
    )


def log_path(settings: Settings, name: str) -> Path:
    return settings.data_dir / LOGS / f"{name}.log"
