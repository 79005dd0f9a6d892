"""What a training runs on is found, said, and left as it was."""

import keras
import pytest

from core.training import Precision, TrainingSpec
from workers.learning.hardware import (
    Capability,
    Hardware,
    chosen_precision,
    computing_in,
    find_hardware,
)

T4, V100, A100, P100 = (7, 5), (7, 0), (8, 0), (6, 0)


@pytest.mark.parametrize(
    ("gpus", "precision"),
    [
        ([], Precision.FLOAT32),
        ([P100], Precision.FLOAT32),
        ([V100], Precision.MIXED_FLOAT16),
        ([T4], Precision.MIXED_FLOAT16),
        ([A100], Precision.MIXED_BFLOAT16),
        ([A100, (9, 0)], Precision.MIXED_BFLOAT16),
        ([A100, T4], Precision.MIXED_FLOAT16),
        ([A100, P100], Precision.FLOAT32),
        ([None], Precision.FLOAT32),
        ([A100, None], Precision.FLOAT32),
    ],
)
def test_auto_is_what_every_gpu_is_fast_in(
    gpus: list[Capability | None], precision: Precision
) -> None:
    assert chosen_precision(Precision.AUTO, gpus) is precision


@pytest.mark.parametrize("gpus", [[], [P100], [A100]])
def test_what_is_asked_for_is_done(gpus: list[Capability | None]) -> None:
    assert chosen_precision(Precision.MIXED_FLOAT16, gpus) is Precision.MIXED_FLOAT16


def test_it_is_said_in_words() -> None:
    assert str(Hardware()) == "precision float32 on the CPU"
    assert str(Hardware(gpus=1)) == "precision float32 on 1 GPU"
    two = Hardware(precision=Precision.MIXED_BFLOAT16, gpus=2)
    assert str(two) == "precision mixed_bfloat16 on 2 GPUs"


def test_a_cpu_trains_plain_models() -> None:
    found = find_hardware(TrainingSpec())
    assert found == Hardware()
    assert found.is_plain


def test_a_model_of_fewer_bits_is_no_plain_one() -> None:
    assert not find_hardware(TrainingSpec(precision=Precision.MIXED_BFLOAT16)).is_plain


class FewDevices:
    """In the place of ``tf.config``: GPUs of these capabilities."""

    def __init__(self, capabilities: list[Capability]) -> None:
        self._capabilities = capabilities
        self.experimental = self

    def get_visible_devices(self, kind: str) -> list[int]:
        assert kind == "GPU"
        return list(range(len(self._capabilities)))

    def get_device_details(self, device: int) -> dict[str, Capability]:
        return {"compute_capability": self._capabilities[device]}


def test_no_more_gpus_than_slices_in_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.learning.hardware.tf.config", FewDevices([A100, T4, P100]))
    monkeypatch.setattr("workers.learning.hardware._mirrored", lambda count: f"strategy of {count}")

    one, two = (find_hardware(TrainingSpec(batch_size=size)) for size in (1, 2))

    assert (one.gpus, one.strategy, one.precision) == (1, None, Precision.MIXED_BFLOAT16)
    assert (two.gpus, two.strategy, two.precision) == (2, "strategy of 2", Precision.MIXED_FLOAT16)


def test_keras_own_policy_is_left_as_it_was() -> None:
    before = keras.config.dtype_policy()

    with pytest.raises(RuntimeError), computing_in(Precision.MIXED_FLOAT16):
        assert keras.layers.Dense(1).compute_dtype == "float16"
        raise RuntimeError

    assert keras.config.dtype_policy() == before
    assert keras.layers.Dense(1).compute_dtype == "float32"
