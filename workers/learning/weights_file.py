"""A model's weights as a file: HDF5, which holds arrays and nothing that could be run."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import h5py
import keras
import numpy as np

_NAME: Final = "model.weights.h5"
"""Keras tells its layouts apart by the name."""


def weights_bytes(model: keras.Model) -> bytes:
    """The model's weights, as an .h5 file."""
    with _file() as path:
        model.save_weights(path)
        return path.read_bytes()


def load_weights(model: keras.Model, data: bytes) -> None:
    """Put the weights of such a file in.

    Raises whatever h5py and Keras do for a file of another model, or that is none.
    """
    with _file(data) as path:
        model.load_weights(path)


def halved(data: bytes) -> bytes:
    """The file with its arrays in float16: half as large. A model that reads it has float32.

    Raises ``OverflowError`` if a number is too large for that.
    """
    with _file(data) as path:
        with h5py.File(path, "r+") as file:
            for name in _arrays(file):
                array = file[name][()]
                with np.errstate(over="ignore"):  # it is looked for below
                    half = array.astype("float16")
                if not np.isfinite(half).all():
                    raise OverflowError(f"{name} holds numbers that float16 cannot")
                del file[name]
                file.create_dataset(name, data=half)
        with _file() as packed:  # what was deleted still takes room in the first file
            with h5py.File(path) as file, h5py.File(packed, "w") as copy:
                copy.attrs.update(file.attrs)
                for name in file:
                    file.copy(name, copy)
            return packed.read_bytes()


def _arrays(file: h5py.File) -> list[str]:
    names: list[str] = []
    file.visititems(lambda name, o: names.append(name) if isinstance(o, h5py.Dataset) else None)
    return names


@contextmanager
def _file(data: bytes | None = None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / _NAME
        if data is not None:
            path.write_bytes(data)
        yield path
