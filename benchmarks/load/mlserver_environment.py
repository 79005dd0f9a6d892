"""MLServer in a virtual environment of its own, since it needs another protobuf."""

import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

VERSION: Final = "1.7.1"

_SAME: Final = ("onnxruntime", "numpy", "pillow")
"""What decodes and computes has the versions that it has here."""
_HELD_BACK: Final = ("uvloop<0.22",)
"""From then on it makes no event loop by itself, and MLServer's workers die at their start."""
_COMPLETE: Final = ".complete"
_PROTOCOL: Final = (
    "import sys; from mlserver.grpc import dataplane_pb2; "
    "sys.stdout.buffer.write(dataplane_pb2.DESCRIPTOR.serialized_pb)"
)


class NotInstalled(Exception):
    """MLServer cannot be installed here; the message says why."""


@dataclass(frozen=True)
class MlServerEnvironment:
    """A virtual environment in ``folder``."""

    folder: Path

    def command(self, name: str) -> Path:
        return self.folder / "bin" / name

    def protocol(self) -> bytes:
        """The file descriptor of its Open Inference Protocol, serialised."""
        python = str(self.command("python"))
        return subprocess.run([python, "-c", _PROTOCOL], capture_output=True, check=True).stdout


def install_mlserver(work: Path) -> MlServerEnvironment:
    """Install it under ``work``, unless that was done before. Raises ``NotInstalled``."""
    same = [f"{name}=={version(name)}" for name in _SAME]
    wanted = [f"mlserver=={VERSION}", *same, *_HELD_BACK]
    environment = MlServerEnvironment(work / f"mlserver-{VERSION}")
    complete = environment.folder / _COMPLETE
    if complete.exists() and complete.read_text().split() == wanted:
        return environment
    _run([sys.executable, "-m", "venv", "--clear", str(environment.folder)])
    _run([str(environment.command("python")), "-m", "pip", "install", "--quiet", *wanted])
    complete.write_text("\n".join(wanted))
    return environment


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotInstalled(done.stderr.strip() or done.stdout.strip())
