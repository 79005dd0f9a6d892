"""A PyTorch file is data: what it names beyond tensors is refused, and nothing in it is run."""

import io
import os
import pickle
import struct
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

from workers.learning.torch_file import read_torch_file

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


class FloatStorage:
    """Pickled under PyTorch's name for it."""


class _Writer(pickle.Pickler):
    """Writes tensors as PyTorch did: a call that rebuilds them from a storage elsewhere."""

    def persistent_id(self, value: Any) -> Any:
        if isinstance(value, Stored):
            return ("storage", FloatStorage, value.key, "cpu", 6, None)
        return None

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return (rebuild, (value.storage, value.offset, value.shape, value.strides, False, {}))
        return NotImplemented


class Stored:
    key = "0"


class Tensor:
    def __init__(self, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> None:
        self.storage, self.shape, self.strides, self.offset = Stored(), shape, strides, offset


def rebuild(*_: Any) -> None:
    """Stands for ``torch._utils._rebuild_tensor_v2``."""


rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
FloatStorage.__module__, FloatStorage.__qualname__ = "torch", "FloatStorage"


def pickled(value: Any) -> bytes:
    return pickle.dumps(value, protocol=2)


def a_state(state: Any, monkeypatch: pytest.MonkeyPatch) -> bytes:
    import sys
    from types import ModuleType

    torch, utils = ModuleType("torch"), ModuleType("torch._utils")
    torch.FloatStorage, utils._rebuild_tensor_v2 = FloatStorage, rebuild  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    FloatStorage.__name__ = "FloatStorage"
    rebuild.__name__ = "_rebuild_tensor_v2"
    buffer = io.BytesIO()
    _Writer(buffer, protocol=2).dump(state)
    return buffer.getvalue()


def a_file(state: bytes, values: int = 6) -> bytes:
    head = pickled(MAGIC) + pickled(PROTOCOL) + pickled({"little_endian": True})
    storage = struct.pack("<q", values) + np.arange(values, dtype="<f4").tobytes()
    return head + state + pickled(["0"]) + storage


def test_tensors_are_read_by_their_strides(monkeypatch: pytest.MonkeyPatch) -> None:
    state = OrderedDict(plain=Tensor((2, 3), (3, 1)), turned=Tensor((3, 2), (1, 3)))
    found = read_torch_file(a_file(a_state(state, monkeypatch)))
    np.testing.assert_array_equal(found["plain"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(found["turned"], [[0, 3], [1, 4], [2, 5]])


@pytest.mark.parametrize("tensor", [Tensor((7,), (1,)), Tensor((2,), (1,), 5), Tensor((2,), (-1,))])
def test_a_tensor_past_its_storage_is_refused(
    tensor: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = a_file(a_state(OrderedDict(t=tensor), monkeypatch))
    with pytest.raises(ValueError, match="past its storage"):
        read_torch_file(data)


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("exit 1",)


def test_nothing_in_it_is_run() -> None:
    with pytest.raises(ValueError, match=r"system has no place"):
        read_torch_file(a_file(pickled(OrderedDict(t=Evil()))))


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", pickled(1), pickled(MAGIC) + pickled(2)])
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="this is no PyTorch file"):
        read_torch_file(data)


def test_a_file_that_ends_too_early_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = a_file(a_state(OrderedDict(t=Tensor((6,), (1,))), monkeypatch))
    with pytest.raises(ValueError, match="no PyTorch file"):
        read_torch_file(data[:-1])
