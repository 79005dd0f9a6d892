"""Lines on a scan that everybody can see: by colour, by style, and by a dark edge."""

from collections.abc import Sequence
from typing import Final

from PIL import Image, ImageChops, ImageDraw, ImageFilter

Colour = tuple[int, int, int]

# Of Okabe and Ito's palette; yellow and blue stay apart for every kind of colour vision.
OUTLINE: Final[Colour] = (240, 228, 66)
BOX: Final[Colour] = (86, 180, 233)
_DARK: Final[Colour] = (0, 0, 0)
_LEVEL: Final = 128


def with_regions(
    picture: Image.Image, mask: Image.Image, boxes: Sequence[tuple[float, float, float, float]]
) -> Image.Image:
    """The picture with a solid line around what the mask (of its size, grey) covers, and a dashed
    one around each box (in its pixels)."""
    drawn = _outlined(picture, mask.point([255 if v >= _LEVEL else 0 for v in range(256)]))
    for box in boxes:
        _dash(drawn, box)
    return drawn


def line_width(picture: Image.Image) -> int:
    """Pixels: 2 up to a side of 768, 4 at 1024."""
    return max(2, max(picture.size) // 256)


def _outlined(picture: Image.Image, inside: Image.Image) -> Image.Image:
    """The line runs around the region, so that all of it stays in sight."""
    width = line_width(picture)
    line = _grown(inside, width)
    edge = ImageChops.subtract(_grown(line, max(1, width // 2)), _shrunk(inside, 1))
    shaded = Image.composite(Image.new("RGB", picture.size, _DARK), picture, edge)
    ring = ImageChops.subtract(line, inside)
    return Image.composite(Image.new("RGB", picture.size, OUTLINE), shaded, ring)


def _grown(mask: Image.Image, pixels: int) -> Image.Image:
    for _ in range(pixels):
        mask = mask.filter(ImageFilter.MaxFilter(3))
    return mask


def _shrunk(mask: Image.Image, pixels: int) -> Image.Image:
    for _ in range(pixels):
        mask = mask.filter(ImageFilter.MinFilter(3))
    return mask


def _dash(picture: Image.Image, box: tuple[float, float, float, float]) -> None:
    """A line of dashes in colour and gaps in black, so that it shows on any ground."""
    width = line_width(picture)
    gap = 2 * width + 1  # clear of the outline
    left, top = max(0, round(box[0]) - gap), max(0, round(box[1]) - gap)
    right = min(picture.width, round(box[2]) + gap) - 1
    bottom = min(picture.height, round(box[3]) + gap) - 1
    draw = ImageDraw.Draw(picture)
    thin = max(1, width // 2)
    length = 3 * width
    for x in range(left, right + 1, length):
        colour = BOX if (x - left) // length % 2 == 0 else _DARK
        end = min(x + length - 1, right)
        draw.rectangle((x, top, end, min(top + thin - 1, bottom)), fill=colour)
        draw.rectangle((x, max(bottom - thin + 1, top), end, bottom), fill=colour)
    for y in range(top, bottom + 1, length):
        colour = BOX if (y - top) // length % 2 == 0 else _DARK
        end = min(y + length - 1, bottom)
        draw.rectangle((left, y, min(left + thin - 1, right), end), fill=colour)
        draw.rectangle((max(right - thin + 1, left), y, right, end), fill=colour)
