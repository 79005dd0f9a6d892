"""Which systems a run compares. None of them is started here."""

from pathlib import Path

import pytest

from benchmarks.load import bare, mlserver, service, systems
from benchmarks.load.arguments import parse
from benchmarks.load.mlserver_environment import MlServerEnvironment, NotInstalled
from benchmarks.load.model import Model
from benchmarks.load.scans import Scans

MODEL = Model("modelVersions/m", Path("model.onnx"), 160, Path("model.zip"))
SCANS = Scans("pictures", (b"a",))


def names(tmp_path: Path, *words: str, said: list[str] | None = None) -> list[str]:
    say = (said if said is not None else []).append
    chosen = systems.chosen_systems(parse(words), tmp_path, MODEL, SCANS, say)
    return [system.name for system in chosen]


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systems, "install_mlserver", MlServerEnvironment)


def test_the_service_has_two_peers(tmp_path: Path) -> None:
    assert names(tmp_path) == [service.ON_SQLITE, bare.NAME, mlserver.NAME]


def test_a_database_brings_a_second_service(tmp_path: Path) -> None:
    url = ("--database-url", "postgresql://127.0.0.1/empty")
    found = names(tmp_path, *url, "--without", "mlserver")
    assert found == [service.ON_SQLITE, service.ON_POSTGRESQL, bare.NAME]


def test_where_mlserver_cannot_be_installed_the_run_goes_on_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(work: Path) -> MlServerEnvironment:
        raise NotInstalled("no such version")

    monkeypatch.setattr(systems, "install_mlserver", refuse)
    said: list[str] = []
    assert names(tmp_path, said=said) == [service.ON_SQLITE, bare.NAME]
    assert "left out" in said[-1]
    assert "no such version" in said[-1]


def test_each_service_is_paired_with_each_peer(tmp_path: Path) -> None:
    words = ("--database-url", "postgresql://127.0.0.1/empty")
    found = systems.pairs(systems.chosen_systems(parse(words), tmp_path, MODEL, SCANS, print))
    assert found == [
        (service.ON_SQLITE, bare.NAME),
        (service.ON_SQLITE, mlserver.NAME),
        (service.ON_POSTGRESQL, bare.NAME),
        (service.ON_POSTGRESQL, mlserver.NAME),
    ]


def test_the_service_is_told_nothing_of_another_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BRAINTUMOR_ADDRESS", "BROKER_URL", "DATABASE_URL", "BRAINTUMOR_DATA_DIR"):
        monkeypatch.setenv(name, "another")
    monkeypatch.setenv("BRAINTUMOR_INFERENCE_PRECISION", "bf16")
    environment = service.environment("postgresql://127.0.0.1/empty")
    assert "another" not in environment.values()
    assert environment["BRAINTUMOR_INFERENCE_PRECISION"] == "bf16"
    assert environment["DATABASE_URL"] == "postgresql://127.0.0.1/empty"
