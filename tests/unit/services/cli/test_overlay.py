"""A picture of what the model says and where it looked."""

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

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


def drawn(scan: bytes, activation_map: bytes = b"", row: dict[str, Any] = ROW) -> Image.Image:
    return Image.open(BytesIO(draw_overlay(scan, row, activation_map)))


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
