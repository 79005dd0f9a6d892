"""Celery's command line goes to the broker that the settings name, whatever it reads by itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from core.settings import Settings
from core.task_names import TRAINING_QUEUE
from services.adapters.broker import CeleryJobQueue
from tests.conftest import Valkey
from tests.integration.conftest import ROOT

NOBODY = "redis://127.0.0.1:1/0"
HERE = "the broker of the test"


def purge(environment: dict[str, str]) -> str:
    """What a command that needs the broker says: it counts the messages that it removes."""
    names = {"BRAINTUMOR_BROKER_URL", "BROKER_URL", "CELERY_BROKER_URL"}
    inherited = {name: value for name, value in os.environ.items() if name not in names}
    command = [sys.executable, "-m", "celery", "-A", "workers.celery_app", "purge", "-f"]
    done = subprocess.run(
        [*command, "-Q", TRAINING_QUEUE],
        env=inherited | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "named",
    [
        {"BROKER_URL": HERE},
        {"BRAINTUMOR_BROKER_URL": HERE, "BROKER_URL": NOBODY},
        {"BRAINTUMOR_BROKER_URL": HERE, "CELERY_BROKER_URL": NOBODY},
    ],
    ids=" ".join,
)
def test_the_settings_name_the_broker(
    valkey: Valkey, tmp_path: Path, named: dict[str, str]
) -> None:
    queue = CeleryJobQueue(Settings.from_environment({}, data_dir=tmp_path, broker_url=valkey.url))
    queue.enqueue("job")
    queue.close()
    urls = {name: valkey.url if url == HERE else url for name, url in named.items()}
    said = purge({"BRAINTUMOR_DATA_DIR": str(tmp_path)} | urls)
    with redis.Redis.from_url(valkey.url) as broker:
        assert broker.llen(TRAINING_QUEUE) == 0, said


def test_so_they_do_for_the_gateway(
    valkey: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", NOBODY)
    queue = CeleryJobQueue(Settings.from_environment({}, data_dir=tmp_path, broker_url=valkey.url))
    queue.enqueue("job")
    assert queue.waiting() == {"job"}
    queue.close()
