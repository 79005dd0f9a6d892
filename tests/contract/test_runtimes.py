"""Every inference runtime gives the same numbers for the same graph."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import openvino as ov
import pytest

from core.training import Task
from tests.fakes.graphs import WEIGHTS, brightness_graph, brightness_segmenter_graph
from workers.inference import onnx_runtime, openvino_runtime
from workers.inference.runtime import Runtime
from workers.model_artefact import OUTPUTS

LOADERS = {
    "openvino": openvino_runtime.loader(streams=2, precision="f32"),
    "onnxruntime": onnx_runtime.cpu_loader(),
}


@pytest.fixture(params=sorted(LOADERS))
def runtime(request: pytest.FixtureRequest) -> Runtime:
    return LOADERS[request.param](brightness_graph(), 16, OUTPUTS[Task.CLASSIFICATION])


@pytest.fixture(params=sorted(LOADERS))
def segmenter(request: pytest.FixtureRequest) -> Runtime:
    return LOADERS[request.param](brightness_segmenter_graph(), 16, OUTPUTS[Task.SEGMENTATION])


def pictures(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    rng = np.random.default_rng(0)
    return rng.uniform(0, 255, (count, 16, 16, 1)).astype(np.float32)


@pytest.mark.parametrize("count", [1, 3])
def test_it_computes_the_graph(runtime: Runtime, count: int) -> None:
    images = pictures(count)
    output = runtime.run(images)
    expected = images / 255.0 * np.array(WEIGHTS, np.float32)
    np.testing.assert_allclose(output["activation_map"], expected, atol=1e-5)
    np.testing.assert_allclose(output["logits"], expected.mean(axis=(1, 2)), atol=1e-5)


@pytest.mark.parametrize("count", [1, 3])
def test_what_is_alone_gets_the_same_answer(runtime: Runtime, count: int) -> None:
    images = pictures(count)
    alone, among_others = runtime.run(images, alone=True), runtime.run(images)
    assert alone.keys() == among_others.keys()
    for name, output in alone.items():
        np.testing.assert_allclose(output, among_others[name], atol=1e-6)


@pytest.mark.parametrize("count", [1, 3])
def test_it_computes_masks(segmenter: Runtime, count: int) -> None:
    images = pictures(count)
    output = segmenter.run(images)
    assert list(output) == ["mask"]
    np.testing.assert_allclose(output["mask"], images / 255.0, atol=1e-5)


def test_outputs_are_the_callers_own(runtime: Runtime) -> None:
    images = pictures(2)
    first = runtime.run(images[:1])
    kept = first["logits"].copy()
    runtime.run(images[1:])
    np.testing.assert_array_equal(first["logits"], kept)


def test_threads_do_not_disturb_each_other(runtime: Runtime) -> None:
    images = pictures(64)
    with ThreadPoolExecutor(8) as pool:
        outputs = list(pool.map(lambda i: runtime.run(images[i : i + 1]), range(64)))
    logits = np.concatenate([o["logits"] for o in outputs])
    expected = (images / 255.0 * np.array(WEIGHTS, np.float32)).mean(axis=(1, 2))
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_auto_is_what_the_processor_computes_in() -> None:
    load = openvino_runtime.loader(streams=1, precision="auto")
    capable = "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")

    runtime = load(brightness_graph(), 16, OUTPUTS[Task.CLASSIFICATION])

    assert isinstance(runtime, openvino_runtime.OpenVinoRuntime)
    assert runtime.precision == ("bf16" if capable else "f32")
    images = pictures(1)
    expected = (images / 255.0 * np.array(WEIGHTS, np.float32)).mean(axis=(1, 2))
    np.testing.assert_allclose(runtime.run(images)["logits"], expected, atol=0.02)
