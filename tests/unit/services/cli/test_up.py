"""How the local stack's failures are told."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from services.cli import quickstart_run, up_run
from services.cli.quickstart_run import run_quickstart
from services.cli.up_run import FAILED, run_up


@pytest.mark.parametrize("run", [run_up, run_quickstart], ids=lambda run: run.__name__)
def test_a_machine_that_cannot_run_it_is_told_without_a_traceback(
    run: Callable[[Path | None, str | None], int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "logs"))

    for module in (up_run, quickstart_run):
        monkeypatch.setattr(module, "started", full)
    assert run(tmp_path, "127.0.0.1:7000") == FAILED
    assert f"No space left on device: {tmp_path / 'logs'}" in capsys.readouterr().err
