"""Settings from the environment and back."""

import ast
import inspect
from dataclasses import fields
from pathlib import Path

import pytest

from core import settings as settings_module
from core.errors import InvalidArgument
from core.settings import Settings, default_data_dir


def refused(environ: dict[str, str]) -> dict[str, str]:
    with pytest.raises(InvalidArgument) as caught:
        Settings.from_environment(environ, data_dir=Path("/tmp/x"))
    return {v.field: v.description for v in caught.value.violations}


def test_what_follows_from_the_data_folder(tmp_path: Path) -> None:
    settings = Settings.from_environment({"BRAINTUMOR_DATA_DIR": str(tmp_path)})
    assert settings.data_dir == tmp_path
    assert settings.database_url == f"sqlite:///{tmp_path}/braintumor.db"
    assert settings.artefact_url == f"file://{tmp_path}/artefacts"
    assert settings.weights_dir == tmp_path / "weights"


def test_the_data_folder_follows_the_xdg_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_data_dir() == tmp_path / "braintumor"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_data_dir() == tmp_path / ".local" / "share" / "braintumor"


def test_folders_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Child processes start in another folder and must find the same files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ann")
    settings = Settings.from_environment(
        {"BRAINTUMOR_DATA_DIR": "data", "BRAINTUMOR_WEIGHTS_DIR": "~/weights"}
    )
    assert settings.data_dir == tmp_path / "data"
    assert settings.weights_dir == Path("/home/ann/weights")


def test_every_field_can_be_set(tmp_path: Path) -> None:
    environ = {
        "BRAINTUMOR_DATA_DIR": str(tmp_path),
        "BRAINTUMOR_BROKER_URL": "rediss://h:6380/1",
        "BRAINTUMOR_IMPORT_REMOTE": "Yes",
        "BRAINTUMOR_MAX_BATCH_SIZE": " 8 ",
        "BRAINTUMOR_INFERENCE_TIMEOUT_SECONDS": "2.5",
        "BRAINTUMOR_TRAINING_THREADS": "0",
        "BRAINTUMOR_RESULT_CACHE_SECONDS": "0",
        "BRAINTUMOR_INFERENCE_DEVICE": "CUDA",
        "BRAINTUMOR_LOG_LEVEL": "debug",
    }
    settings = Settings.from_environment(environ)
    assert settings.broker_url == "rediss://h:6380/1"
    assert settings.import_remote is True
    assert settings.max_batch_size == 8
    assert settings.inference_timeout_seconds == 2.5
    assert settings.training_threads == 0
    assert (settings.inference_device, settings.log_level) == ("cuda", "DEBUG")


@pytest.mark.parametrize(
    ("text", "meaning"), [("1", True), ("0", False), ("TRUE", True), ("no", False)]
)
def test_switches(tmp_path: Path, text: str, meaning: bool) -> None:
    environ = {"BRAINTUMOR_IMPORT_REMOTE": text}
    assert Settings.from_environment(environ, data_dir=tmp_path).import_remote is meaning


def test_an_empty_variable_is_no_variable(tmp_path: Path) -> None:
    environ = {"BRAINTUMOR_MAX_BATCH_SIZE": "", "BRAINTUMOR_ADDRESS": ""}
    assert Settings.from_environment(environ, data_dir=tmp_path) == Settings.from_environment(
        {}, data_dir=tmp_path
    )


def test_names_that_hosting_platforms_set(tmp_path: Path) -> None:
    platform = {"DATABASE_URL": "postgresql://u:p@h/d", "BROKER_URL": "redis://h/3"}
    settings = Settings.from_environment(platform, data_dir=tmp_path)
    assert (settings.database_url, settings.broker_url) == tuple(platform.values())
    own = {"BRAINTUMOR_DATABASE_URL": "sqlite:///x.db", "BRAINTUMOR_BROKER_URL": "unix:///s"}
    settings = Settings.from_environment(platform | own, data_dir=tmp_path)
    assert (settings.database_url, settings.broker_url) == tuple(own.values())


def test_arguments_win(tmp_path: Path) -> None:
    environ = {"BRAINTUMOR_ADDRESS": "h:1", "BRAINTUMOR_MAX_BATCH_SIZE": "9"}
    settings = Settings.from_environment(environ, data_dir=tmp_path, address="h:2")
    assert (settings.address, settings.max_batch_size) == ("h:2", 9)


def test_the_process_environment_is_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRAINTUMOR_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("BRAINTUMOR_ADDRESS", "h:7")
    assert Settings.from_environment().address == "h:7"


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("BRAINTUMOR_MAX_BATCH_SIZE", "many"),
        ("BRAINTUMOR_MAX_BATCH_SIZE", "2.5"),
        ("BRAINTUMOR_MAX_BATCH_SIZE", "0"),
        ("BRAINTUMOR_MAX_BATCHES_IN_FLIGHT", "-1"),
        ("BRAINTUMOR_INFERENCE_TIMEOUT_SECONDS", "nan"),
        ("BRAINTUMOR_INFERENCE_TIMEOUT_SECONDS", "inf"),
        ("BRAINTUMOR_SWEEP_SECONDS", "0"),
        ("BRAINTUMOR_DRAIN_SECONDS", "-0.1"),
        ("BRAINTUMOR_RESULT_CACHE_SECONDS", "-1"),
        ("BRAINTUMOR_RESULT_CACHE_BYTES", "0"),
        ("BRAINTUMOR_TRAINING_THREADS", "-1"),
        ("BRAINTUMOR_IMPORT_REMOTE", "maybe"),
        ("BRAINTUMOR_INFERENCE_DEVICE", "tpu"),
        ("BRAINTUMOR_INFERENCE_PRECISION", "int8"),
        ("BRAINTUMOR_LOG_LEVEL", "loud"),
        ("BRAINTUMOR_LOG_FORMAT", "xml"),
    ],
)
def test_values_that_cannot_be_used(variable: str, text: str) -> None:
    problems = refused({variable: text})
    assert list(problems) == [variable]
    assert problems[variable].startswith(f"'{text}' is not ")


def test_every_bad_variable_is_named_at_once() -> None:
    assert set(refused({"BRAINTUMOR_MAX_BATCH_SIZE": "x", "BRAINTUMOR_LOG_LEVEL": "y"})) == {
        "BRAINTUMOR_MAX_BATCH_SIZE",
        "BRAINTUMOR_LOG_LEVEL",
    }


def test_a_child_process_gets_the_same_settings(tmp_path: Path) -> None:
    settings = Settings.from_environment(
        {},
        data_dir=tmp_path,
        import_remote=True,
        import_roots="/a:/b",
        max_image_bytes=7,
        drain_seconds=0.25,
        training_threads=0,
        inference_precision="bf16",
        log_format="json",
    )
    environment = settings.to_environment()
    assert all(isinstance(value, str) for value in environment.values())
    assert Settings.from_environment(environment) == settings


def test_every_field_is_explained() -> None:
    tree = ast.parse(inspect.getsource(settings_module))
    (definition,) = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Settings"]
    explained = {
        before.target.id
        for before, after in zip(definition.body, definition.body[1:], strict=False)
        if isinstance(before, ast.AnnAssign)
        and isinstance(before.target, ast.Name)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
    }
    assert explained == {f.name for f in fields(Settings)}
