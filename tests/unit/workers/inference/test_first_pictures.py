"""The first pictures of a new worker may come on several threads at once."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
TRIES = 6
"""Half of them hang where OpenVINO's binding meets its first tensors on several threads."""
FIRST_PICTURES = """
import sys, threading
import numpy as np
from tests.fakes.graphs import brightness_graph
from workers.inference import openvino_runtime
from workers.model_artefact import OUTPUTS

load = openvino_runtime.loader(streams=2, precision="f32")
images, barrier = np.zeros((1, 16, 16, 1), np.float32), threading.Barrier(8)

def loaded():
    return load(brightness_graph(), 16, OUTPUTS["classification"])

shared = loaded() if LOADED_FIRST else None

def run():
    barrier.wait()
    (shared or loaded()).run(images)

sys.setswitchinterval(1e-6)
threads = [threading.Thread(target=run, daemon=True) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@pytest.mark.parametrize("loaded_first", [True, False])
def test_none_of_them_waits_for_ever(loaded_first: bool) -> None:
    script = FIRST_PICTURES.replace("LOADED_FIRST", str(loaded_first))
    for _ in range(TRIES):
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={"PYTHONPATH": f"{ROOT}:{ROOT / 'protos'}"},
            check=True,
            timeout=20,
        )
