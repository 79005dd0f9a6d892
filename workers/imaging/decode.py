"""The only decoder in the system: encoded bytes to grey pixels.

MRI is grey, so every picture becomes one channel of 8 bits. What is refused, and why, is said in
:class:`core.errors.ImageRefused`; no other exception leaves this module for any bytes whatever.
"""

import io
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from core.errors import ImageProblem, ImageRefused
from core.settings import Settings

FORMATS: Final = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
MIN_SIDE: Final = 16
"""Pixels; below this there is nothing to see."""

# The limit is checked here, from the header; Pillow's own would warn, or refuse what is allowed.
Image.MAX_IMAGE_PIXELS = None
# What Pillow finds odd about a file's metadata does not matter to its pixels.
warnings.filterwarnings("ignore", module=r"PIL\.")

_BAND_PIXELS: Final = 1 << 18
"""Pixels that are converted at a time."""
_HUGE_PIXELS: Final = 16_000_000
_one_huge_picture: Final = threading.Lock()
"""Pictures above ``_HUGE_PIXELS`` are worked on one at a time, whatever threads there are."""

_WIDE_MODES: Final = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N", "F"})
_ACCEPTED: Final = "JPEG, PNG, BMP, TIFF or WebP"


@dataclass(frozen=True, kw_only=True)
class ImageLimits:
    """Largest encoded size in bytes and largest width times height in pixels."""

    max_bytes: int
    max_pixels: int

    @classmethod
    def of(cls, settings: Settings) -> "ImageLimits":
        return cls(max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels)


def decode_grey(data: bytes, limits: ImageLimits) -> NDArray[np.uint8]:
    """The picture as grey pixels (height, width), 0..255, upright by its EXIF orientation.

    Colour becomes luma (ITU-R 601); transparent places become black, the background of a slice.
    16-bit and float pictures are scaled linearly so that 0 stays black and their brightest pixel
    becomes 255: scanners rarely use the full range, and a fixed divisor would make them black.
    Raises ``ImageRefused``.
    """
    if not data:
        raise ImageRefused(ImageProblem.EMPTY, "The image is empty. Send the encoded picture.")
    if len(data) > limits.max_bytes:
        raise ImageRefused(
            ImageProblem.TOO_MANY_BYTES,
            f"The image has {len(data):,} bytes; at most {limits.max_bytes:,} are accepted.",
        )
    picture = _open(data)
    _check_header(picture, limits)
    with alone_if_huge(picture.width * picture.height):
        return _decoded(picture)


def alone_if_huge(pixels: int) -> AbstractContextManager[Any]:
    """Held while a picture of that many pixels takes many times its own memory."""
    return _one_huge_picture if pixels > _HUGE_PIXELS else nullcontext()


def _decoded(picture: ImageFile.ImageFile) -> NDArray[np.uint8]:
    if picture.format == "JPEG" and picture.mode == "RGB":
        picture.draft("L", picture.size)  # the luma plane alone, at full size
    try:
        picture.load()
    except Exception as exc:  # decoders raise many kinds; all mean the same to the caller
        raise _unreadable(exc) from exc
    try:
        return _grey(_upright(picture))
    except ImageRefused:
        raise
    except Exception as exc:
        raise _unreadable(exc) from exc


def _open(data: bytes) -> ImageFile.ImageFile:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as exc:
        raise ImageRefused(
            ImageProblem.NOT_AN_IMAGE, f"The bytes are not a picture. Send {_ACCEPTED}."
        ) from exc
    except Exception as exc:
        raise _unreadable(exc) from exc


def _check_header(picture: ImageFile.ImageFile, limits: ImageLimits) -> None:
    width, height = picture.size
    if width * height > limits.max_pixels:
        raise ImageRefused(
            ImageProblem.TOO_MANY_PIXELS,
            f"The picture has {width} x {height} pixels; at most {limits.max_pixels:,} in all "
            "are accepted.",
        )
    if min(width, height) < MIN_SIDE:
        raise ImageRefused(
            ImageProblem.TOO_SMALL,
            f"The picture has {width} x {height} pixels; each side needs at least {MIN_SIDE}.",
        )
    if _has_second_frame(picture):
        raise ImageRefused(
            ImageProblem.ANIMATED,
            "The file holds several pictures. Send one slice at a time.",
        )


def _has_second_frame(picture: ImageFile.ImageFile) -> bool:
    """Looks no further than the second: to count a long chain of frames would take minutes."""
    try:
        picture.seek(1)
    except EOFError:
        return False
    except Exception as exc:
        raise _unreadable(exc) from exc
    return True


def _upright(picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # junk in the metadata says nothing about the pixels
        return picture


def _unreadable(exc: Exception) -> ImageRefused:
    if isinstance(exc, OSError) and "truncated" in str(exc).lower():
        return ImageRefused(ImageProblem.TRUNCATED, "The picture ends too early. Send it whole.")
    return ImageRefused(ImageProblem.UNREADABLE, "The picture is damaged and cannot be decoded.")


def _grey(picture: Image.Image) -> NDArray[np.uint8]:
    """Band by band: a large picture's intermediate forms take many times its own memory."""
    if picture.mode == "L" and "transparency" not in picture.info:
        return np.asarray(picture)
    band_grey = _scaling(picture) if picture.mode in _WIDE_MODES else _band_grey
    grey = np.empty((picture.height, picture.width), np.uint8)
    for top, band in _bands(picture):
        grey[top : top + band.height] = band_grey(band)
    return grey


def _bands(picture: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """The first row of each band of rows, and the band."""
    rows = max(_BAND_PIXELS // picture.width, 1)
    for top in range(0, picture.height, rows):
        bottom = min(top + rows, picture.height)
        yield top, picture.crop((0, top, picture.width, bottom))


def _band_grey(band: Image.Image) -> NDArray[np.uint8]:
    if "A" in band.getbands() or "transparency" in band.info:
        band = _on_black(band)
    return np.asarray(band.convert("L"))


def _on_black(picture: Image.Image) -> Image.Image:
    layered = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layered.size, (0, 0, 0, 255)), layered)


def _scaling(picture: Image.Image) -> Callable[[Image.Image], NDArray[np.uint8]]:
    """What maps a band's values so that 0 stays and the picture's brightest becomes 255."""
    peak = max(_peak(np.asarray(band)) for _, band in _bands(picture))
    scale = 255.0 / peak if peak > 0 else 0.0

    def scaled(band: Image.Image) -> NDArray[np.uint8]:
        values = np.clip(np.asarray(band, dtype=np.float64), 0, None)
        return np.rint(values * scale).astype(np.uint8)

    return scaled


def _peak(values: NDArray[Any]) -> float:
    if not np.isfinite(values).all():
        raise ImageRefused(ImageProblem.UNREADABLE, "The picture has values that are no numbers.")
    return float(values.max())
