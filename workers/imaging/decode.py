"""The only decoder in the system: encoded bytes to grey pixels.

MRI is grey, so every picture becomes one channel of 8 bits. What is refused, and why, is said in
:class:`core.errors.ImageRefused`; no other exception leaves this module for any bytes whatever.
"""

import io
import math
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

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
_BRIGHT_SHARE: Final = 0.999
"""Of the pixels that are not black: what is brighter is a hot pixel or a mark, and white."""
_COUNTED_PIXELS: Final = 1 << 20
"""How bright a picture is, so many of its pixels tell; a multiple of them is not all looked at."""
_MAX_SCANS: Final = 100
"""A progressive JPEG has about ten. One of a hundred bytes costs as much as a whole picture."""
_SCAN: Final = b"\xff\xda"
"""Begins each; inside of one it cannot be."""
# Tags of a TIFF, and a value of one.
_PHOTOMETRIC: Final = 262
_WHITE_IS_ZERO: Final = 0
_STRIPS: Final = 273
_TILES: Final = 324
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
    16-bit and float pictures are scaled linearly so that 0 stays black and what is brighter than
    all but a thousandth of the rest becomes 255: scanners rarely use the full range, so a fixed
    divisor would make them black, and so would a single hot pixel if it were the measure. Raises
    ``ImageRefused``.
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
    _check_scans(picture, data)
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
        return _grey(_upright(picture), is_negative=_is_negative(picture))
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


def _check_scans(picture: ImageFile.ImageFile, data: bytes) -> None:
    """Refuse a JPEG, also inside of a TIFF, whose decoding was made to take hours."""
    pieces = 1
    if isinstance(picture, TiffImageFile) and "jpeg" in str(picture.info.get("compression")):
        pieces = len(picture.tag_v2.get(_STRIPS) or picture.tag_v2.get(_TILES) or ())
    elif picture.format != "JPEG":
        return
    if data.count(_SCAN) > _MAX_SCANS + pieces:
        raise ImageRefused(
            ImageProblem.UNREADABLE,
            f"The picture is a JPEG of more than {_MAX_SCANS} scans. Save it anew and send that.",
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


def _is_negative(picture: ImageFile.ImageFile) -> bool:
    """Whether 0 means white in a picture that Pillow leaves as it is stored: a wide TIFF."""
    if not isinstance(picture, TiffImageFile) or picture.mode not in _WIDE_MODES:
        return False
    return bool(picture.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO)


def _grey(picture: Image.Image, *, is_negative: bool) -> NDArray[np.uint8]:
    """Band by band: a large picture's intermediate forms take many times its own memory."""
    if picture.mode == "L" and "transparency" not in picture.info:
        return np.asarray(picture)
    is_wide = picture.mode in _WIDE_MODES
    band_grey = _scaling(picture, is_negative=is_negative) if is_wide else _band_grey
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


def _scaling(
    picture: Image.Image, *, is_negative: bool
) -> Callable[[Image.Image], NDArray[np.uint8]]:
    """What maps a band's values so that black becomes 0 and what is bright in the picture 255."""
    _check_numbers(picture)
    counted = _some_values(picture)
    black = _bright(counted) if is_negative else 0.0
    bright = _bright(black - counted if is_negative else counted)
    scale = 255.0 / bright if bright > 0 else 0.0

    def scaled(band: Image.Image) -> NDArray[np.uint8]:
        values = np.asarray(band, dtype=np.float64)
        above_black = black - values if is_negative else values
        return np.rint(np.clip(above_black * scale, 0, 255)).astype(np.uint8)

    return scaled


def _check_numbers(picture: Image.Image) -> None:
    for _, band in _bands(picture):
        if not np.isfinite(np.asarray(band)).all():
            raise ImageRefused(
                ImageProblem.UNREADABLE, "The picture has values that are no numbers."
            )


def _some_values(picture: Image.Image) -> NDArray[np.float64]:
    """The values of all rows, or of every so many where there are very many: (n,)."""
    step = math.ceil(picture.width * picture.height / _COUNTED_PIXELS)
    parts = [np.asarray(band)[-top % step :: step].ravel() for top, band in _bands(picture)]
    return np.concatenate(parts).astype(np.float64)


def _bright(values: NDArray[np.float64]) -> float:
    """The value that all but few of those above 0 do not exceed; 0 if none is above."""
    above = values[values > 0]
    return float(np.quantile(above, _BRIGHT_SHARE, method="higher")) if len(above) else 0.0
