"""A scan with what the model says above it, and drawn on it what was outlined or, where nothing
was, where the model looked."""

from io import BytesIO
from typing import Final

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont, ImageOps

from services.cli.outlines import with_regions
from services.cli.output import Row
from services.cli.region_words import regions_in_words

# Orange, sky blue and white of Okabe and Ito's palette stay apart for every kind of colour vision.
_HEAT: Final = (230, 159, 0)
_CONTOUR: Final = (255, 255, 255)
_ACCEPTED: Final = (86, 180, 233)
_DOUBTED: Final = (230, 159, 0)
_MOST_HEAT: Final = 0.55
"""Opacity of the heat where the map is brightest: the tissue below stays visible."""
_LEVEL: Final = 128
"""The contour runs at half of the map's maximum."""
_SMALLEST_SIDE: Final = 224
_LARGEST_SIDE: Final = 2048
_MARKS: Final = {"ABSTAINED": "? ABSTAINED", "OUT_OF_DISTRIBUTION": "! OUT OF DISTRIBUTION"}


def draw_overlay(
    scan: bytes, row: Row, activation_map: bytes, mask: Image.Image | None = None
) -> bytes:
    """A PNG: a title strip, then the scan with its regions, or with the activation map of the
    answer's class.

    ``row`` is the answer; ``activation_map`` a grey PNG, empty if there is none; ``mask`` is of the
    scan's size and covers the row's regions. The picture keeps the scan's size, except that very
    small scans are enlarged and very large ones reduced. Raises ``OSError`` if the scan cannot be
    drawn here.
    """
    viewable = _viewable(scan)
    picture = _sized(viewable)
    if mask is not None and row.get("regions"):
        scale = picture.width / viewable.width, picture.height / viewable.height
        fitted = mask.convert("L").resize(picture.size, Image.Resampling.BILINEAR)
        picture = with_regions(picture, fitted, [_scaled(r["box"], scale) for r in row["regions"]])
    elif activation_map:
        picture = _with_heat(picture, activation_map)
    title = _title(row, picture.width)
    page = Image.new("RGB", (picture.width, title.height + picture.height))
    page.paste(title, (0, 0))
    page.paste(picture, (0, title.height))
    return _png(page)


def _scaled(
    box: tuple[int, int, int, int], scale: tuple[float, float]
) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = box
    return x0 * scale[0], y0 * scale[1], x1 * scale[0], y1 * scale[1]


def _viewable(scan: bytes) -> Image.Image:
    with Image.open(BytesIO(scan)) as opened:
        upright = ImageOps.exif_transpose(opened)
        if upright.mode.startswith("I") or upright.mode == "F":
            low, high = upright.getextrema()
            span = max(float(high) - float(low), 1.0)  # type: ignore[arg-type]
            scale, shift = 255.0 / span, -float(low) * 255.0 / span  # type: ignore[arg-type]
            upright = upright.convert("F").point(lambda value: value * scale + shift)
        return upright.convert("L").convert("RGB")


def _sized(picture: Image.Image) -> Image.Image:
    side = max(picture.size)
    wanted = min(max(side, _SMALLEST_SIDE), _LARGEST_SIDE)
    if wanted == side:
        return picture
    size = (
        max(1, round(picture.width * wanted / side)),
        max(1, round(picture.height * wanted / side)),
    )
    return picture.resize(size, Image.Resampling.LANCZOS)


def _with_heat(picture: Image.Image, activation_map: bytes) -> Image.Image:
    with Image.open(BytesIO(activation_map)) as opened:
        heat = opened.convert("L").resize(picture.size, Image.Resampling.BILINEAR)
    brightest = heat.getextrema()[1]
    if not brightest:
        return picture
    heat = heat.point([min(255, round(255 * v / brightest)) for v in range(256)])  # type: ignore[operator]
    opacity = heat.point([round(v * _MOST_HEAT) for v in range(256)])
    glowing = Image.composite(Image.new("RGB", picture.size, _HEAT), picture, opacity)
    return _outlined(glowing, heat)


def _outlined(picture: Image.Image, heat: Image.Image) -> Image.Image:
    inside = heat.point([255 if v >= _LEVEL else 0 for v in range(256)])
    thickness = max(1, max(picture.size) // 320)
    core = inside
    for _ in range(thickness):
        core = core.filter(ImageFilter.MinFilter(3))
    edge = ImageChops.subtract(inside, core)
    dark = ImageChops.subtract(edge.filter(ImageFilter.MaxFilter(3)), edge)
    shaded = Image.composite(Image.new("RGB", picture.size), picture, dark)
    return Image.composite(Image.new("RGB", picture.size, _CONTOUR), shaded, edge)


def _title(row: Row, width: int) -> Image.Image:
    lines = [
        (f"{row['label']}  {row['probabilities'][row['label']]:.1%}", _CONTOUR),
        (
            _MARKS.get(row["decision"], str(row["decision"])),
            _ACCEPTED if row["decision"] == "ACCEPTED" else _DOUBTED,
        ),
        *((text, _CONTOUR) for text in _found(row)),
    ]
    margin = max(4, width // 64)
    texts = tuple(text for text, _ in lines)
    font = _fitting(texts, width - 2 * margin, max(14, width // 22))
    line = round(font.size * 1.3)
    strip = Image.new("RGB", (width, len(lines) * line + 2 * margin))
    draw = ImageDraw.Draw(strip)
    for number, (text, colour) in enumerate(lines):
        draw.text((margin, margin + number * line), text, font=font, fill=colour)
    return strip


def _found(row: Row) -> tuple[str, ...]:
    """A line about the regions, if a segmenter looked for some."""
    found = regions_in_words(row)
    if not found:
        return ()
    return (found if row.get("regions") else f"{found} outlined",)


def _fitting(texts: tuple[str, ...], width: int, size: int) -> ImageFont.FreeTypeFont:
    while True:
        font = ImageFont.load_default(size)
        if not isinstance(font, ImageFont.FreeTypeFont):
            raise OSError("this Pillow was built without FreeType, so nothing can be written")
        if size <= 8 or max(map(font.getlength, texts)) <= width:
            return font
        size -= 1


def _png(page: Image.Image) -> bytes:
    buffer = BytesIO()
    page.save(buffer, "PNG")
    return buffer.getvalue()
