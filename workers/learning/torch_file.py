"""Arrays out of a PyTorch file, without PyTorch and without running anything in it.

The format is the one that ``torch.save`` wrote before 1.6: a few pickles, then the raw storages.
A pickle can call whatever it names, so only the names that tensors need are known here.
"""

import io
import pickle
import struct
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_MAGIC: Final = 0x1950A86A20F9469CFC6C
_PROTOCOL: Final = 1001
_TYPES: Final[Mapping[str, str]] = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
}


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: str


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage; offset and strides count elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _TensorUnpickler(pickle.Unpickler):
    """Knows tensors and ordered dictionaries, and refuses every other name."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in _TYPES:
            return _TYPES[name]
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a file of weights")

    def persistent_load(self, pid: Any) -> Any:
        _, dtype, key, *_ = pid
        return _Storage(str(key), dtype)


def read_torch_file(data: bytes) -> dict[str, NDArray[Any]]:
    """The file's state dictionary: each tensor by its name.

    Raises ``ValueError`` for bytes that are no such file.
    """
    stream = io.BytesIO(data)
    try:
        return _read(stream)
    except (pickle.UnpicklingError, EOFError, struct.error, LookupError, TypeError) as exc:
        raise ValueError(f"this is no PyTorch file of weights: {exc}") from exc


def _read(stream: io.BytesIO) -> dict[str, NDArray[Any]]:
    if (_load(stream), _load(stream)) != (_MAGIC, _PROTOCOL):
        raise ValueError("this is no PyTorch file of the old format")
    _load(stream)  # the writer's machine
    state, keys = _load(stream), _load(stream)
    tensors = {name: value for name, value in state.items() if isinstance(value, _Tensor)}
    dtypes = {tensor.storage.key: tensor.storage.dtype for tensor in tensors.values()}
    storages = _storages(stream, keys, dtypes)
    return {name: _view(storages[t.storage.key], t) for name, t in tensors.items()}


def _load(stream: io.BytesIO) -> Any:
    return _TensorUnpickler(stream).load()


def _tensor(
    storage: _Storage, offset: int, shape: Sequence[int], strides: Sequence[int], *_: Any
) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _storages(
    stream: io.BytesIO, keys: Sequence[str], dtypes: Mapping[str, str]
) -> dict[str, NDArray[Any]]:
    """The raw arrays, each behind its length, in the order of ``keys``."""
    found = {}
    for key in keys:
        (count,) = struct.unpack("<q", stream.read(8))
        dtype = np.dtype(dtypes[key])
        raw = stream.read(count * dtype.itemsize)
        if len(raw) != count * dtype.itemsize:
            raise EOFError("it ends too early")
        found[key] = np.frombuffer(raw, dtype)
    return found


def _view(storage: NDArray[Any], tensor: _Tensor) -> NDArray[Any]:
    last = tensor.offset + sum(
        (n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True)
    )
    if tensor.offset < 0 or min(tensor.strides, default=0) < 0 or last >= len(storage):
        raise LookupError("a tensor reaches past its storage")
    steps = [stride * storage.itemsize for stride in tensor.strides]
    view = np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.shape, steps)
    return np.array(view)
