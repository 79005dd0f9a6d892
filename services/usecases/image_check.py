"""What the gateway checks of a picture before it spends a worker's time on it.

Size and kind only, from the first bytes: the gateway never decodes. Everything else about a
picture (truncated, animated, too many pixels, ...) is the worker's single decoder's to say.
"""

from typing import Final

from core.errors import ImageProblem, ImageRefused

_SIGNATURES: Final = (
    b"\xff\xd8\xff",  # JPEG
    b"\x89PNG\r\n\x1a\n",
    b"BM",
    b"II*\x00",  # TIFF, little-endian
    b"MM\x00*",  # TIFF, big-endian
    b"II+\x00",  # BigTIFF, little-endian: the decoder does not read the other kind
)
_ACCEPTED: Final = "JPEG, PNG, BMP, TIFF or WebP"


def check_image(image: bytes, max_bytes: int) -> None:
    """Raises ``ImageRefused`` for an empty, oversized or clearly unreadable picture."""
    if not image:
        raise ImageRefused(ImageProblem.EMPTY, "The image is empty. Send the encoded picture.")
    if len(image) > max_bytes:
        raise ImageRefused(
            ImageProblem.TOO_MANY_BYTES,
            f"The image has {len(image):,} bytes; at most {max_bytes:,} are accepted.",
        )
    if _is_known_but_unsupported(image):
        raise ImageRefused(
            ImageProblem.UNSUPPORTED_FORMAT, f"This picture format is not read. Send {_ACCEPTED}."
        )
    if not (image.startswith(_SIGNATURES) or _is_webp(image)):
        raise ImageRefused(
            ImageProblem.NOT_AN_IMAGE, f"The bytes are not a picture. Send {_ACCEPTED}."
        )


def _is_webp(image: bytes) -> bool:
    return image[:4] == b"RIFF" and image[8:12] == b"WEBP"


def _is_known_but_unsupported(image: bytes) -> bool:
    return image.startswith(b"GIF8") or image[128:132] == b"DICM"
