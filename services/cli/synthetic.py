"""Synthetic slices that look enough like axial T1 MRI to try the whole system on.

They teach nothing about real tumours. Each class has the one thing that sets it apart: glioma an
irregular blob with a bright rim inside a hemisphere, meningioma a round bright blob at the
skull, pituitary a small bright blob low in the middle, no_tumor nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.labels import LABELS, TumourLabel

Field = NDArray[np.float64]

_JPEG_QUALITY: Final = 92


@dataclass(frozen=True, kw_only=True)
class _Head:
    """Pixel coordinates in the head's own frame: the skull is the circle ``radius`` = 1.

    ``x`` runs to the right and ``y`` down; ``brain`` is 1 inside the skull and 0 outside.
    """

    x: Field
    y: Field
    radius: Field
    brain: Field


def write_dataset(folder: Path, per_class: int = 40, size: int = 256, seed: int = 0) -> list[Path]:
    """Write ``per_class`` JPEG slices of ``size`` x ``size`` pixels for each class.

    The folders are named by the classes. The same arguments give the same pictures. Raises
    ``OSError`` if they cannot be written.
    """
    written = []
    for place, label in enumerate(LABELS):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            rng = np.random.default_rng((seed, place, number))
            path = folder / label / f"{label}-{seed}-{number:04d}.jpg"
            Image.fromarray(draw_slice(label, size, rng)).save(path, quality=_JPEG_QUALITY)
            written.append(path)
    return written


def draw_slice(label: TumourLabel, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """One slice: grey values 0..255, shape (size, size)."""
    head = _head(size, rng)
    picture = _tissue(head, rng)
    picture = _ventricles(picture, head, rng)
    picture = _TUMOURS[label](picture, head, rng)
    picture = np.maximum(picture * head.brain, _skull(head, rng))
    picture += rng.normal(0, rng.uniform(0.008, 0.02), picture.shape)
    return (np.clip(picture * rng.uniform(0.85, 1.1), 0, 1) * 255).astype(np.uint8)


def _head(size: int, rng: np.random.Generator) -> _Head:
    axis = np.linspace(-1, 1, size)
    column, row = np.meshgrid(axis, axis)
    angle = rng.uniform(-0.2, 0.2)
    column, row = column - rng.uniform(-0.05, 0.05), row - rng.uniform(-0.05, 0.05)
    x = (column * np.cos(angle) + row * np.sin(angle)) / rng.uniform(0.64, 0.74)
    y = (row * np.cos(angle) - column * np.sin(angle)) / rng.uniform(0.78, 0.88)
    radius = np.hypot(x, y)
    return _Head(x=x, y=y, radius=radius, brain=_soft(0.9 - radius, 0.02))


def _tissue(head: _Head, rng: np.random.Generator) -> Field:
    size = len(head.x)
    folds = _smooth_noise(size, 24, rng)
    white = _soft(0.62 + 0.12 * folds - head.radius, 0.05)
    grey = 0.34 + 0.03 * _smooth_noise(size, 10, rng)
    fissure = 1 - 0.45 * np.exp(-((head.x / 0.02) ** 2)) * _soft(np.abs(head.y) - 0.3, 0.05)
    return (grey + 0.16 * white + 0.02 * folds) * fissure


def _ventricles(picture: Field, head: _Head, rng: np.random.Generator) -> Field:
    width, length = rng.uniform(0.07, 0.12), rng.uniform(0.22, 0.34)
    for side in (-1, 1):
        across = (head.x - side * (0.11 + 0.12 * np.abs(head.y))) / width
        along = (head.y + rng.uniform(-0.03, 0.08)) / length
        inside = _soft(1 - np.hypot(across, along), 0.15)
        picture = picture * (1 - inside) + 0.1 * inside
    return picture


def _skull(head: _Head, rng: np.random.Generator) -> Field:
    scalp = np.exp(-(((head.radius - 1.02) / 0.035) ** 2)) * rng.uniform(0.6, 0.85)
    return np.asarray(scalp * (1 + 0.15 * _smooth_noise(len(head.x), 8, rng)))


def _glioma(picture: Field, head: _Head, rng: np.random.Generator) -> Field:
    x, y = rng.choice((-1, 1)) * rng.uniform(0.3, 0.5), rng.uniform(-0.35, 0.35)
    distance = np.hypot(head.x - x, head.y - y) / rng.uniform(0.2, 0.3)
    distance = distance + 0.35 * _smooth_noise(len(head.x), 14, rng)
    oedema = 0.55 * _soft(1.6 - distance, 0.3)
    picture = picture * (1 - 0.35 * oedema)
    core = _soft(0.75 - distance, 0.1)
    rim = np.exp(-(((distance - 0.95) / 0.2) ** 2)) * rng.uniform(0.45, 0.6)
    return np.asarray(picture * (1 - core) + 0.18 * core + rim)


def _meningioma(picture: Field, head: _Head, rng: np.random.Generator) -> Field:
    angle = rng.uniform(0, 2 * np.pi)
    while abs(np.sin(angle)) > 0.93 and np.sin(angle) > 0:  # low centre is the pituitary's place
        angle = rng.uniform(0, 2 * np.pi)
    x, y = 0.72 * np.cos(angle), 0.72 * np.sin(angle)
    distance = np.hypot(head.x - x, head.y - y) / rng.uniform(0.17, 0.26)
    return _blob(picture, distance, rng.uniform(0.78, 0.95))


def _pituitary(picture: Field, head: _Head, rng: np.random.Generator) -> Field:
    x, y = rng.uniform(-0.05, 0.05), rng.uniform(0.5, 0.62)
    distance = np.hypot((head.x - x) / rng.uniform(0.9, 1.2), head.y - y)
    return _blob(picture, distance / rng.uniform(0.1, 0.15), rng.uniform(0.78, 0.95))


def _nothing(picture: Field, _head: _Head, _rng: np.random.Generator) -> Field:
    return picture


_TUMOURS: Final[dict[TumourLabel, Callable[[Field, _Head, np.random.Generator], Field]]] = {
    TumourLabel.GLIOMA: _glioma,
    TumourLabel.MENINGIOMA: _meningioma,
    TumourLabel.NO_TUMOR: _nothing,
    TumourLabel.PITUITARY: _pituitary,
}


def _blob(picture: Field, distance: Field, brightness: float) -> Field:
    inside = _soft(1 - distance, 0.08)
    return picture * (1 - inside) + brightness * inside


def _soft(signed_distance: Field, width: float) -> Field:
    """1 where the distance is positive, 0 where negative, smooth over about ``width``."""
    return np.asarray(1 / (1 + np.exp(np.clip(-signed_distance / (width / 4), -60, 60))))


def _smooth_noise(size: int, cells: int, rng: np.random.Generator) -> Field:
    """Noise about -1..1 that varies over ``size / cells`` pixels."""
    coarse = Image.fromarray(rng.normal(0, 0.5, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float64)
