"""Masks of what was outlined, over the whole scan."""

from collections.abc import Sequence
from io import BytesIO
from typing import Final

from braintumor.v1 import classifier_pb2
from PIL import Image, ImageChops

_ORIENTATION: Final = 0x0112
_LYING: Final = frozenset({5, 6, 7, 8})
"""EXIF orientations of pictures that are a quarter turn away from upright."""


def union_mask(scan: bytes, regions: Sequence[classifier_pb2.Region]) -> Image.Image:
    """A 1-bit picture of the scan's size, upright: white is what any region covers.

    The regions must have PNG masks. Raises ``OSError`` if the scan or a mask cannot be read.
    """
    union = Image.new("1", _upright_size(scan))
    for region in regions:
        with Image.open(BytesIO(region.mask_png)) as mask:
            if mask.size != union.size:
                raise OSError("the server's mask is not of the scan's size")
            union = ImageChops.logical_or(union, mask.convert("1"))
    return union


def mask_png(mask: Image.Image) -> bytes:
    buffer = BytesIO()
    mask.save(buffer, "PNG")
    return buffer.getvalue()


def _upright_size(scan: bytes) -> tuple[int, int]:
    with Image.open(BytesIO(scan)) as opened:
        width, height = opened.size
        lying = _orientation(opened) in _LYING
    return (height, width) if lying else (width, height)


def _orientation(picture: Image.Image) -> int | None:
    try:
        orientation: int | None = picture.getexif().get(_ORIENTATION)
    except Exception:  # junk in the metadata says nothing about the pixels
        return None
    return orientation
