"""The processes of the stack and their settings."""

import sys
from pathlib import Path

import pytest

from core.errors import InvalidArgument
from core.settings import Settings
from core.task_names import broker_for_celery
from services.supervisor.stack import (
    child_environment,
    curation_spec,
    gateway_spec,
    given_broker,
    inference_spec,
    local_settings,
    node_name,
    training_spec,
)
from services.supervisor.valkey import broker_url, private_folder, valkey_spec

MAKERS = (gateway_spec, inference_spec, curation_spec, training_spec)


def test_large_data_sets_hold_up_no_scan(tmp_path: Path) -> None:
    settings = Settings.from_environment({}, data_dir=tmp_path)
    readers = [
        make.__name__
        for make in MAKERS
        if any("inference" in word.split(",") for word in make(settings, {}).command)
    ]
    assert readers == ["inference_spec"]


def test_one_person_on_one_machine_may_import_from_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    settings = local_settings(tmp_path, "127.0.0.1:7000", {})
    assert settings.address == "127.0.0.1:7000"
    assert settings.import_roots == "/home/ann"
    assert not settings.import_remote


def test_a_gateway_on_the_network_keeps_the_strict_defaults(tmp_path: Path) -> None:
    settings = local_settings(tmp_path, "0.0.0.0:7000", {})
    assert settings.import_roots == ""
    assert not settings.import_remote


def test_what_the_environment_says_about_imports_stands(tmp_path: Path) -> None:
    environ = {"BRAINTUMOR_IMPORT_ROOTS": "/scans", "BRAINTUMOR_IMPORT_REMOTE": "true"}
    settings = local_settings(tmp_path, None, environ)
    assert settings.import_roots == "/scans"
    assert settings.import_remote


def test_a_bad_address_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument):
        local_settings(tmp_path, "nonsense", {})


@pytest.mark.parametrize("variable", ["BROKER_URL", "BRAINTUMOR_BROKER_URL"])
def test_a_broker_may_be_given(variable: str) -> None:
    assert given_broker({variable: "redis://r/1"}) == "redis://r/1"
    assert given_broker({}) is None


def test_children_read_back_the_very_settings(tmp_path: Path) -> None:
    outer = {
        "PATH": "/bin",
        "DATABASE_URL": "postgresql://elsewhere/db",
        "BRAINTUMOR_EPOCHS_OF_OLD": "1",
    }
    settings = Settings.from_environment({}, data_dir=tmp_path, broker_url="unix:///run/v.sock")
    environment = child_environment(settings, outer)
    assert Settings.from_environment(environment) == settings
    assert environment["PATH"] == "/bin"
    assert "DATABASE_URL" not in environment
    assert "BRAINTUMOR_EPOCHS_OF_OLD" not in environment


def test_commands_name_what_the_design_settles(tmp_path: Path) -> None:
    settings = Settings.from_environment({}, data_dir=tmp_path)
    gateway, inference, curation, training = (make(settings, {}) for make in MAKERS)
    assert gateway.command == (sys.executable, "-m", "services.server")
    celery = (sys.executable, "-m", "celery", "-A", "workers.celery_app", "worker")
    assert {w.command[:6] for w in (inference, curation, training)} == {celery}
    assert {"inference", "threads"} <= set(inference.command)
    assert {"curation", "threads"} <= set(curation.command)
    assert node_name("inference") in inference.command
    assert {"training", "prefork", "--max-tasks-per-child=1"} <= set(training.command)


def test_the_gateway_stops_first_and_has_time_to_drain(tmp_path: Path) -> None:
    settings = Settings.from_environment({}, data_dir=tmp_path, drain_seconds=30.0)
    broker = valkey_spec(tmp_path, tmp_path, tmp_path / "b.log", {})
    gateway, *workers = (make(settings, {}) for make in MAKERS)
    (phase,) = {worker.stop_phase for worker in workers}
    assert gateway.stop_phase < phase < broker.stop_phase
    assert gateway.grace_seconds > 30.0


def test_logs_are_below_the_data_folder_and_children_start_in_it(tmp_path: Path) -> None:
    settings = Settings.from_environment({}, data_dir=tmp_path)
    for make in MAKERS:
        spec = make(settings, {})
        assert spec.log.parent == tmp_path / "logs"
        assert spec.folder == tmp_path


def test_the_broker_has_no_port_and_keeps_nothing(tmp_path: Path) -> None:
    command = valkey_spec(tmp_path / "s", tmp_path, tmp_path / "b.log", {}).command
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--port"] == "0"
    assert options["--save"] == ""
    assert options["--appendonly"] == "no"
    assert options["--maxmemory-policy"] == "noeviction"
    assert options["--maxmemory"].endswith("mb")
    assert options["--unixsocket"] == str(tmp_path / "s" / "valkey.sock")


def test_the_socket_folder_is_private_and_its_path_short(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 90)
    deep.mkdir()
    for base in (tmp_path, deep):
        folder = private_folder(base)
        assert folder.stat().st_mode & 0o777 == 0o700
        url = broker_url(folder)
        assert url.startswith("unix:///")
        assert broker_for_celery(url).startswith("redis+socket:///")
        assert len(url.removeprefix("unix://").encode()) <= 100
        folder.rmdir()
