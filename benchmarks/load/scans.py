"""The pictures that are sent."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from core.labels import LABELS
from services.cli.synthetic import draw_slice

SIDE: Final = 512
DRAWN_SIDE: Final = 256
"""Drawn smaller and enlarged: as in public sets, noise is coarser than the pixels."""
TARGET_BYTES: Final = 15_000
_QUALITIES: Final = range(5, 96)
_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png"})


@dataclass(frozen=True)
class Scans:
    """Encoded pictures, and in words what they are."""

    kind: str
    encoded: tuple[bytes, ...]

    def __str__(self) -> str:
        mean_kb = sum(map(len, self.encoded)) / len(self.encoded) / 1000
        return f"{len(self.encoded)} {self.kind} of {mean_kb:.1f} kB on average"


def synthetic_scans(count: int) -> Scans:
    """``count`` slices, the classes in turn; always the same ones."""
    encoded = tuple(jpeg_of_size(_slice(number), TARGET_BYTES) for number in range(count))
    return Scans(f"synthetic {SIDE}x{SIDE} JPEGs", encoded)


def real_scans(folder: Path, count: int) -> Scans:
    """At most ``count`` of the pictures in the folder, spread evenly over it.

    Raises ``ValueError`` if there are none.
    """
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES)
    if not paths:
        raise ValueError(f"no pictures in {folder}")
    places = np.linspace(0, len(paths) - 1, min(count, len(paths))).round().astype(int)
    return Scans("pictures", tuple(paths[place].read_bytes() for place in places))


def jpeg_of_size(picture: Image.Image, most_bytes: int) -> bytes:
    """The picture in colour, as public sets hold slices, at the best quality that is small enough.

    The lowest quality where none is.
    """
    colour = picture.convert("RGB")
    low, high = _QUALITIES[0], _QUALITIES[-1]
    while low < high:
        middle = (low + high + 1) // 2
        if len(_jpeg(colour, middle)) <= most_bytes:
            low = middle
        else:
            high = middle - 1
    return _jpeg(colour, low)


def _slice(number: int) -> Image.Image:
    label = LABELS[number % len(LABELS)]
    drawn = draw_slice(label, DRAWN_SIDE, np.random.default_rng(number))
    return Image.fromarray(drawn).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
