"""Where first weights come from, and what is said when they cannot be had."""

import hashlib
import socket
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import keras
import numpy as np
import pytest

from core.errors import PretrainedWeightsUnavailable
from core.settings import Settings
from tests.fakes.learning import SPEC, tiny_network, use_tiny_network
from workers.learning import package_weights, weights
from workers.learning.package_weights import PackageWeights
from workers.learning.weights import start_weights

pytestmark = pytest.mark.usefixtures("tiny", "no_internet")


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    use_tiny_network(monkeypatch)


@pytest.fixture
def no_internet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError("no route to host")

    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(socket, "create_connection", refuse)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = Settings.from_environment({}, data_dir=tmp_path)
    found.weights_dir.mkdir()
    return found


def write_weights(path: Path) -> None:
    network = tiny_network(include_top=False, weights=None, input_shape=(16, 16, 3))
    network.set_weights([np.full(w.shape, 0.25) for w in network.get_weights()])
    network.save_weights(path)


def test_nothing_needs_no_internet(settings: Settings) -> None:
    first = start_weights(replace(SPEC, weights="none"), settings)
    assert (first.source, first.values, first.pretrained) == ("none", None, False)


def test_imagenet_without_internet_names_the_alternatives(settings: Settings) -> None:
    with pytest.raises(PretrainedWeightsUnavailable, match=r"no connection.*file:NAME.*none.*auto"):
        start_weights(replace(SPEC, weights="imagenet"), settings)


def test_auto_takes_what_is_in_the_servers_folder(settings: Settings) -> None:
    write_weights(settings.weights_dir / "tiny.weights.h5")
    first = start_weights(replace(SPEC, weights="auto"), settings)
    digest = hashlib.sha256((settings.weights_dir / "tiny.weights.h5").read_bytes()).hexdigest()
    assert first.source == f"file:tiny.weights.h5 sha256:{digest}"
    assert first.values is not None
    assert {float(v) for values in first.values for v in np.ravel(values)} == {0.25}


def test_auto_takes_what_a_package_has(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    found = PackageWeights(source="package p", values=[1.0])
    monkeypatch.setattr(weights, "package_weights_for", lambda backbone: found)
    assert start_weights(replace(SPEC, weights="auto"), settings).source == "package p"
    assert start_weights(replace(SPEC, weights="package"), settings).values == [1.0]


def test_auto_without_anything_starts_from_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    package_weights._state.cache_clear()
    monkeypatch.setattr(package_weights, "_MODULE", "no_such_module")
    assert start_weights(replace(SPEC, weights="auto"), settings).source == "none"


@pytest.mark.parametrize("name", ["other.h5", "missing.h5", "model.keras", "link.h5"])
def test_files_that_do_not_fit_are_refused(settings: Settings, tmp_path: Path, name: str) -> None:
    (settings.weights_dir / "other.h5").write_bytes(b"\x89HDF\r\n\x1a\n and nothing else")
    (settings.weights_dir / "model.keras").write_bytes(b"PK")
    (tmp_path / "outside.h5").write_bytes(b"secret")
    (settings.weights_dir / "link.h5").symlink_to(tmp_path / "outside.h5")
    with pytest.raises(PretrainedWeightsUnavailable, match=name.replace(".", r"\.")):
        start_weights(replace(SPEC, weights=f"file:{name}"), settings)


@pytest.mark.parametrize("name", ["deeper.weights.h5", "wider.weights.h5"])
def test_weights_of_another_backbone_are_refused(settings: Settings, name: str) -> None:
    channels = 3 if name.startswith("deeper") else 4
    network = tiny_network(include_top=False, weights=None, input_shape=(16, 16, channels))
    if name.startswith("deeper"):
        more = keras.layers.Conv2D(8, 3, name="conv_3")(network.output)
        network = keras.Model(network.input, more)
    network.save_weights(settings.weights_dir / name)
    with pytest.raises(PretrainedWeightsUnavailable, match="does not hold weights of efficientnet"):
        start_weights(replace(SPEC, weights=f"file:{name}"), settings)


def test_a_file_of_another_hash_is_refused(settings: Settings) -> None:
    path = settings.weights_dir / "tiny.weights.h5"
    write_weights(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    named = f"file:{path.name}#sha256="
    assert start_weights(replace(SPEC, weights=named + digest), settings).pretrained
    with pytest.raises(PretrainedWeightsUnavailable, match=f"{digest}, not 0000.* fetch it again"):
        start_weights(replace(SPEC, weights=named + "0" * 64), settings)


def test_weights_from_elsewhere_are_held_to_their_hash(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "tiny.weights.h5"
    write_weights(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    allowed = replace(settings, import_roots=str(tmp_path))
    first = start_weights(replace(SPEC, weights=f"{path.as_uri()}#sha256={digest}"), allowed)
    assert first.source == f"{path.as_uri()} sha256:{digest}"
    other = replace(SPEC, weights=f"{path.as_uri()}#sha256={'0' * 64}")
    with pytest.raises(PretrainedWeightsUnavailable, match=f"{digest}, not 0000.* fetch it again"):
        start_weights(other, allowed)
    with pytest.raises(PretrainedWeightsUnavailable, match=r"may not read there.*file:NAME"):
        start_weights(other, settings)


def test_what_keras_has_downloaded_needs_no_internet(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = tmp_path / "keras" / "models" / "tiny.weights.h5"
    cached.parent.mkdir(parents=True)
    cached.touch()
    network = tiny_network(include_top=False, weights=None, input_shape=(16, 16, 3))
    monkeypatch.setattr(weights, "unfused_backbone", lambda *_, **__: network)
    assert start_weights(replace(SPEC, weights="imagenet"), settings).source == "imagenet"
