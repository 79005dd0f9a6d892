"""What holds for the server without starting one."""

import json
import subprocess
import sys

import pytest

from services.server import SERVICES


def test_the_gateway_imports_nothing_heavy() -> None:
    script = "import services.server, json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    heavy = {"tensorflow", "keras", "openvino", "onnxruntime", "onnx", "numpy", "PIL", "workers"}
    assert loaded & heavy == set()
    assert {"services", "grpc"} <= loaded


@pytest.mark.parametrize("name", ["Classifier", "Datasets", "Training", "Models", "Audit"])
def test_every_service_of_the_api_is_served(name: str) -> None:
    assert f"braintumor.v1.{name}" in SERVICES
