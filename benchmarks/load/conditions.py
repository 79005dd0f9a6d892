"""What a run was made under, in words."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from benchmarks.load import mlserver, mlserver_environment, service
from benchmarks.load.arguments import Plan
from benchmarks.load.model import Model
from benchmarks.load.scans import Scans
from benchmarks.provenance import provenance


def conditions(plan: Plan, model: Model, scans: Scans) -> Mapping[str, str]:
    """Name and words of each."""
    settings = service.settings(Path())
    timing = plan.timing
    return provenance() | {
        "model": f"{model.name}, {model.image_size}x{model.image_size} pixels",
        "scans": str(scans),
        "rounds": f"{plan.rounds}, each load {timing.measured:g} s after {timing.warm_up:g} s",
        "service and bare runtime": (
            f"device {settings.inference_device}, precision {settings.inference_precision}, "
            f"{settings.inference_streams} streams; OpenVINO {version('openvino')}"
        ),
        mlserver.NAME: (
            f"{mlserver_environment.VERSION}, ONNX Runtime {version('onnxruntime')}; batches of at "
            f"most {mlserver.BATCH_SIZE}, gathered for {mlserver.BATCH_SECONDS:g} s"
        ),
    }
