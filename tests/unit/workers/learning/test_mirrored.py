"""Two devices learn what one would; the training itself is in ``two_devices``."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from core.training import Optimizer

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def found() -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.workers.learning.two_devices"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "protos")])},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("optimizer", list(Optimizer))
def test_two_devices_learn_what_one_does(found: Any, optimizer: Optimizer) -> None:
    run = found[optimizer]
    one, both = run["losses"]
    assert run["mirrored"]
    assert both == pytest.approx(one, rel=1e-5)
    assert run["right"][0] == run["right"][1]
    assert run["largest_difference"] < 1e-5
    assert run["devices_agree"]


def test_they_do_in_float16_too(found: Any) -> None:
    one, both = found["float16"]["losses"]
    assert both == pytest.approx(one, rel=1e-2)
    assert found["float16"]["devices_agree"]


def test_an_overflow_on_one_device_leaves_the_step_out_on_both(found: Any) -> None:
    run = found["overflow"]
    assert not run["changed"]
    assert run["scale"] == run["initial_scale"] / 2


def test_what_comes_of_it_is_an_ordinary_model(found: Any) -> None:
    whole = found["whole"]
    assert whole["types"] == ["float32"]
    assert not whole["mirrored_variables"]
    assert whole["export_difference"] < 1e-4
    assert whole["messages"][0] == "precision mixed_float16 on 2 GPUs"


def test_a_worker_with_one_device_goes_on_from_two(found: Any) -> None:
    whole = found["whole"]
    assert whole["went_on"]
    assert len(whole["losses"]) == 3
    assert all(math.isfinite(loss) for loss in whole["losses"])
    assert "going on behind epoch 2" in whole["messages"]
