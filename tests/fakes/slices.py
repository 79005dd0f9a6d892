"""Pictures for tests of curation: heads that differ, and copies of them that do not."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter


def a_head(seed: int, size: int = 128) -> NDArray[np.uint8]:
    """A bright ellipse full of blobs on black, its own for each seed: (size, size) grey."""
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8), np.uint8)
    blobs = Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC)
    blurred = np.asarray(blobs.filter(ImageFilter.GaussianBlur(size / 40)), np.float64)
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    inside = (x / 0.36) ** 2 + (y / 0.44) ** 2 < 1
    return np.where(inside, 60 + blurred * 0.7, 0).astype(np.uint8)


def framed(grey: NDArray[np.uint8], left: int, top: int) -> NDArray[np.uint8]:
    """The same on more black."""
    return np.pad(grey, ((top, 5), (left, 3)))


def resized(grey: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(grey).resize((size, size), Image.Resampling.BICUBIC))


def png(grey: NDArray[np.uint8]) -> bytes:
    return _encoded(grey, "PNG")


def jpeg(grey: NDArray[np.uint8], quality: int = 80, mode: str = "L") -> bytes:
    return _encoded(grey, "JPEG", quality=quality, mode=mode)


def _encoded(grey: NDArray[np.uint8], kind: str, *, mode: str = "L", quality: int = 80) -> bytes:
    out = io.BytesIO()
    Image.fromarray(grey).convert(mode).save(out, kind, quality=quality)
    return out.getvalue()
