"""A region's pixels over the whole picture, as any other program reads them."""

import io

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from core.prediction import Box, MaskFormat, RegionMask
from workers.imaging.mask_formats import encoded_mask
from workers.imaging.regions import FoundRegion

WIDTH, HEIGHT = 50, 30
SHAPE = np.array([[0, 1, 1], [1, 1, 0]], np.bool_)


def encoded(wanted: MaskFormat, x: int = 7, y: int = 11) -> RegionMask:
    box = Box(x0=x, y0=y, x1=x + 3, y1=y + 2)
    region = FoundRegion(box=box, score=0.5, mask=SHAPE)
    return encoded_mask(region, wanted, width=WIDTH, height=HEIGHT)


def decoded(mask: RegionMask) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    if mask.format is MaskFormat.PNG:
        with Image.open(io.BytesIO(mask.data)) as picture:
            assert picture.mode == "1"
            return np.asarray(picture)
    return np.asarray(coco.decode({"size": [mask.height, mask.width], "counts": mask.data}), bool)


@pytest.mark.parametrize("wanted", MaskFormat)
@pytest.mark.parametrize(("x", "y"), [(0, 0), (7, 11), (WIDTH - 3, HEIGHT - 2)])
def test_it_covers_the_regions_place_and_no_other(wanted: MaskFormat, x: int, y: int) -> None:
    mask = encoded(wanted, x, y)
    assert (mask.format, mask.width, mask.height) == (wanted, WIDTH, HEIGHT)
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[y : y + 2, x : x + 3] = SHAPE
    np.testing.assert_array_equal(decoded(mask), expected)


def test_run_lengths_are_text() -> None:
    counts = encoded(MaskFormat.COCO_RLE).data.decode("ascii")
    found = coco.decode({"size": [HEIGHT, WIDTH], "counts": counts})
    assert found.sum() == SHAPE.sum()
