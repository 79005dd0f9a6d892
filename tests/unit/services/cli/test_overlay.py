"""A picture of what the model says and where it looked."""

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from services.cli.outlines import BOX, OUTLINE, line_width
from services.cli.overlay import draw_overlay

ROW: dict[str, Any] = {
    "label": "meningioma",
    "probabilities": {"meningioma": 0.973},
    "decision": "OUT_OF_DISTRIBUTION",
}


def png(picture: Image.Image, kind: str = "PNG") -> bytes:
    buffer = BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def drawn(
    scan: bytes,
    activation_map: bytes = b"",
    row: dict[str, Any] = ROW,
    mask: Image.Image | None = None,
) -> Image.Image:
    return Image.open(BytesIO(draw_overlay(scan, row, activation_map, mask)))


def spot(size: int) -> bytes:
    heat = np.zeros((size, size), np.uint8)
    heat[size // 4 : size // 2, size // 4 : size // 2] = 200
    return png(Image.fromarray(heat))


@pytest.mark.parametrize("size", [224, 1024])
def test_the_scan_stands_below_a_title_that_fits(size: int) -> None:
    picture = drawn(png(Image.new("L", (size, size), 90)), spot(size))
    assert picture.width == size
    title = np.asarray(picture)[: picture.height - size]
    assert title.max() > 200
    columns = np.flatnonzero(title.max(axis=(0, 2)) > 60)
    assert columns[0] > 0
    assert columns[-1] < size - 2


@pytest.mark.parametrize("size", [224, 1024])
def test_only_where_the_model_looked_is_there_colour(size: int) -> None:
    picture = drawn(png(Image.new("L", (size, size), 90)), spot(size))
    body = np.asarray(picture)[-size:].astype(int)
    inside = body[size * 3 // 8, size * 3 // 8]
    outside = body[size * 7 // 8, size * 7 // 8]
    assert inside[0] > inside[2] + 30
    assert tuple(outside) == (90, 90, 90)
    row = body[size * 3 // 8]
    assert (row.min(axis=1) > 240).any(), "no contour"


Corners = tuple[int, int, int, int]


def outlined_row(size: int, box: Corners) -> dict[str, Any]:
    region = {"box": list(box), "score": 0.9, "area_px": size**2 // 16, "area_mm2": 12.4}
    return ROW | {"segmenter_version": "modelVersions/s1", "regions": [region]}


@pytest.mark.parametrize("size", [32, 224, 1024, 2048])
@pytest.mark.parametrize("grey", [0, 90, 255])
def test_a_region_has_an_outline_and_a_box_on_any_ground(size: int, grey: int) -> None:
    box = (size // 4, size // 4, size // 2, size // 2)
    mask = Image.new("1", (size, size))
    mask.paste(1, box)
    scan = png(Image.new("L", (size, size), grey))
    picture = drawn(scan, spot(size), outlined_row(size, box), mask)
    shown = picture.width
    body = np.asarray(picture)[-shown:].astype(int)
    assert tuple(body[shown * 3 // 8, shown * 3 // 8]) == (grey,) * 3, "the region stays in sight"
    assert tuple(body[shown * 7 // 8, shown * 7 // 8]) == (grey,) * 3, "no heat beside regions"
    across = [tuple(pixel) for pixel in body[shown * 3 // 8, : shown * 3 // 8]]
    assert across.count(OUTLINE) == line_width(picture.crop((0, 0, shown, shown)))
    line = across.index(OUTLINE)
    assert across[line - 1] == (0, 0, 0), "a dark edge keeps it apart from the ground"
    colours = {tuple(pixel) for pixel in body.reshape(-1, 3)}
    assert BOX in colours


@pytest.mark.parametrize("box", [(0, 0, 224, 224), (0, 0, 3, 3), (221, 221, 224, 224)])
def test_a_region_at_the_edge_can_be_drawn(box: Corners) -> None:
    mask = Image.new("1", (224, 224))
    mask.paste(1, box)
    drawn(png(Image.new("L", (224, 224), 90)), b"", outlined_row(224, box), mask)


def test_the_title_says_how_much_was_outlined_if_anything_looked() -> None:
    scan = png(Image.new("L", (224, 224)))
    lines = [
        drawn(scan, row=row).height
        for row in (ROW, ROW | {"segmenter_version": "s", "regions": []})
    ]
    assert lines[1] > lines[0]


def test_a_map_of_nothing_leaves_the_scan_as_it_is() -> None:
    blank = png(Image.new("L", (224, 224)))
    picture = drawn(png(Image.new("L", (224, 224), 90)), blank)
    assert set(np.unique(np.asarray(picture)[-224:])) == {90}


@pytest.mark.parametrize(
    "scan",
    [
        Image.fromarray(np.linspace(0, 4000, 64 * 64).reshape(64, 64).astype(np.uint16)),
        Image.new("CMYK", (64, 64)),
        Image.new("P", (64, 64)),
        Image.new("RGBA", (64, 64)),
    ],
    ids=lambda scan: scan.mode,
)
def test_every_kind_of_picture_can_be_drawn(scan: Image.Image) -> None:
    kind = "TIFF" if scan.mode == "CMYK" else "PNG"
    assert drawn(png(scan, kind), spot(64)).width == 224


def test_a_deep_picture_keeps_its_contrast() -> None:
    ramp = np.linspace(0, 4000, 224 * 224).reshape(224, 224).astype(np.uint16)
    body = np.asarray(drawn(png(Image.fromarray(ramp))))[-224:]
    assert body[0].max() < 5
    assert body[-1].min() > 250


def test_what_is_no_picture_is_an_os_error() -> None:
    with pytest.raises(OSError, match="cannot identify"):
        draw_overlay(b"nonsense", ROW, b"")


def test_doubt_is_marked_in_another_colour() -> None:
    scan = png(Image.new("L", (224, 224)))
    doubted = np.asarray(drawn(scan))[:-224].astype(int)
    accepted = np.asarray(drawn(scan, row=ROW | {"decision": "ACCEPTED"}))[:-224].astype(int)
    assert (doubted[..., 0] - doubted[..., 2]).max() > 150
    assert (accepted[..., 2] - accepted[..., 0]).max() > 100
