"""Which runtime serves, by what is asked for and what is installed."""

import logging
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

import workers.inference
from core.errors import InvalidArgument
from core.settings import Settings
from workers.inference.runtime import Runtime, RuntimeLoader, choose_runtime

EVERYTHING = ("cuda", "openvino", "onnxruntime")


def named_loader(name: str) -> RuntimeLoader:
    def load(graph: bytes, size: int, outputs: Sequence[str]) -> Runtime:
        raise NotImplementedError(name)

    return load


LOADERS = {name: named_loader(name) for name in EVERYTHING}


class Machine:
    """Has the runtimes that it is told to have; ``asked`` is what OpenVINO was told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.asked: dict[str, Any] = {}

    def has(self, *runtimes: str) -> None:
        cuda = LOADERS["cuda"] if "cuda" in runtimes else None
        self._put(
            "onnx_runtime",
            SimpleNamespace(cuda_loader=lambda: cuda, cpu_loader=lambda: LOADERS["onnxruntime"])
            if {"cuda", "onnxruntime"} & set(runtimes)
            else None,
        )
        self._put(
            "openvino_runtime",
            SimpleNamespace(loader=self._openvino) if "openvino" in runtimes else None,
        )

    def _openvino(self, **options: Any) -> RuntimeLoader:
        self.asked = options
        return LOADERS["openvino"]

    def _put(self, name: str, module: SimpleNamespace | None) -> None:
        """The adapter in the place of the real one; None makes its import fail."""
        self._monkeypatch.setitem(sys.modules, f"workers.inference.{name}", module)
        if module is None:
            self._monkeypatch.delattr(workers.inference, name, raising=False)
        else:
            self._monkeypatch.setattr(workers.inference, name, module, raising=False)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def choose(device: str, **options: Any) -> RuntimeLoader:
    return choose_runtime(Settings.from_environment({}, inference_device=device, **options))


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


@pytest.mark.parametrize(
    ("device", "installed", "chosen"),
    [
        ("auto", EVERYTHING, "cuda"),
        ("auto", ("openvino", "onnxruntime"), "openvino"),
        ("cuda", EVERYTHING, "cuda"),
        ("cpu", EVERYTHING, "openvino"),
        ("onnxruntime", EVERYTHING, "onnxruntime"),
        ("CUDA", EVERYTHING, "cuda"),
    ],
)
def test_what_is_asked_for_serves_without_a_warning(
    machine: Machine,
    caplog: pytest.LogCaptureFixture,
    device: str,
    installed: tuple[str, ...],
    chosen: str,
) -> None:
    machine.has(*installed)
    assert choose(device) is LOADERS[chosen]
    assert warnings_in(caplog) == []


@pytest.mark.parametrize(
    ("device", "installed", "chosen", "missing"),
    [
        ("auto", ("onnxruntime",), "onnxruntime", ["openvino"]),
        ("cuda", ("openvino", "onnxruntime"), "openvino", ["cuda"]),
        ("cuda", ("onnxruntime",), "onnxruntime", ["cuda", "openvino"]),
        ("cuda", ("openvino",), "openvino", ["cuda"]),
        ("cpu", ("onnxruntime",), "onnxruntime", ["openvino"]),
    ],
)
def test_the_next_best_serves_with_a_word_in_the_log(
    machine: Machine,
    caplog: pytest.LogCaptureFixture,
    device: str,
    installed: tuple[str, ...],
    chosen: str,
    missing: list[str],
) -> None:
    machine.has(*installed)
    assert choose(device) is LOADERS[chosen]
    assert warnings_in(caplog) == [f"inference_runtime_missing runtime={m}" for m in missing]


def test_the_log_says_what_was_chosen(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    machine.has("openvino")
    choose("auto")
    assert "inference_runtime wanted=auto got=openvino" in caplog.text


def test_openvino_is_told_its_streams_and_precision(machine: Machine) -> None:
    machine.has("openvino")
    choose("cpu", inference_streams=7, inference_precision="bf16")
    assert machine.asked == {"streams": 7, "precision": "bf16"}


@pytest.mark.parametrize("device", ["auto", "cuda", "cpu", "onnxruntime"])
def test_without_any_runtime_it_says_what_to_install(machine: Machine, device: str) -> None:
    machine.has()
    with pytest.raises(RuntimeError, match=r"pip install '\.\[inference\]'"):
        choose(device)


def test_onnxruntime_does_not_fall_back(machine: Machine) -> None:
    machine.has("openvino")
    with pytest.raises(RuntimeError):
        choose("onnxruntime")


def test_an_unknown_device_is_refused_with_the_known_ones(machine: Machine) -> None:
    machine.has(*EVERYTHING)
    with pytest.raises(InvalidArgument) as caught:
        choose("tpu")
    (violation,) = caught.value.violations
    assert violation.field == "BRAINTUMOR_INFERENCE_DEVICE"
    assert violation.description == "must be one of auto, cuda, cpu, onnxruntime"
