"""When, from which commit and on what kind of machine a result was made."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

_MEASURED: Final = ("core/*.py", "db/*.py", "services/*.py", "workers/*.py")


def provenance() -> dict[str, str]:
    """``date``, ``commit`` (with + where files differ from it) and ``machine`` in words."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": _commit(),
        "machine": f"{os.cpu_count()} cores, {_processor()}",
    }


def _commit() -> str:
    short = _git("rev-parse", "--short", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", *_MEASURED)
    return short + ("+" if changed else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip()


def _processor() -> str:
    """The processor's instruction sets that matter here; its name may say nothing."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    known = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in text]
    return " ".join([platform.machine(), *known])
