"""Masks over the whole scan."""

from io import BytesIO

import pytest
from braintumor.v1 import classifier_pb2
from PIL import Image

from services.cli.masks import mask_png, union_mask


def png(picture: Image.Image, **options: object) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "PNG", **options)
    return buffer.getvalue()


def region(size: tuple[int, int], x0: int, y0: int, x1: int, y1: int) -> classifier_pb2.Region:
    mask = Image.new("1", size)
    mask.paste(1, (x0, y0, x1, y1))
    return classifier_pb2.Region(mask_png=png(mask))


SCAN = png(Image.new("L", (30, 20)))


def test_it_covers_what_any_region_does() -> None:
    union = union_mask(SCAN, [region((30, 20), 1, 2, 4, 6), region((30, 20), 20, 10, 22, 11)])
    assert (union.mode, union.size) == ("1", (30, 20))
    assert union.getbbox() == (1, 2, 22, 11)
    assert union.histogram()[255] == 3 * 4 + 2 * 1


def test_without_regions_it_is_black() -> None:
    with Image.open(BytesIO(mask_png(union_mask(SCAN, [])))) as mask:
        assert (mask.mode, mask.size, mask.getbbox()) == ("1", (30, 20), None)


def test_a_scan_that_lies_on_its_side_has_an_upright_mask() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    scan = png(Image.new("L", (30, 20)), exif=exif)
    assert union_mask(scan, []).size == (20, 30)
    assert union_mask(scan, [region((20, 30), 0, 0, 20, 30)]).getbbox() == (0, 0, 20, 30)


@pytest.mark.parametrize(
    "bad", [classifier_pb2.Region(), region((20, 30), 0, 0, 1, 1)], ids=["none", "another size"]
)
def test_a_mask_that_does_not_fit_is_an_os_error(bad: classifier_pb2.Region) -> None:
    with pytest.raises(OSError, match=r"mask|cannot identify"):
        union_mask(SCAN, [bad])
