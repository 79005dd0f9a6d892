"""Regions as the audit log keeps them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.prediction import Box, MaskFormat, Region, RegionMask
from core.region_text import regions_from_text, regions_to_text
from tests.fakes.records import a_region

corners = st.integers(0, 2**31 - 1)
regions = st.builds(
    Region,
    box=st.builds(Box, x0=corners, y0=corners, x1=corners, y1=corners),
    score=st.floats(0, 1),
    area_px=st.integers(0, 2**53),
    area_mm2=st.none() | st.floats(0, 1e9),
)


@given(st.lists(regions, max_size=4).map(tuple))
def test_they_come_back_to_the_last_bit(found: tuple[Region, ...]) -> None:
    text = regions_to_text(found)
    assert regions_from_text(text) == found
    assert regions_to_text(regions_from_text(text)) == text


def test_masks_are_never_written() -> None:
    mask = RegionMask(format=MaskFormat.PNG, width=2, height=2, data=b"pixels")
    assert regions_to_text((a_region(mask=mask),)) == regions_to_text((a_region(),))


@pytest.mark.parametrize(
    "change",
    [
        {"box": [1, 2, 3]},
        {"box": [1, 2, 3, 4, 5]},
        {"box": [1, 2, 3, 2**31]},
        {"box": [1, 2, 3, -1]},
        {"box": [1, 2, 3, True]},
        {"box": "1234"},
        {"score": None},
        {"score": "0.5"},
        {"score": 1e999},
        {"area_px": 1.5},
        {"area_mm2": "x"},
        {"mask": "AAAA"},
    ],
)
def test_any_other_text_is_refused(change: dict[str, object]) -> None:
    (value,) = json.loads(regions_to_text((a_region(),)))
    text = json.dumps([value | change], sort_keys=True, separators=(",", ":"))
    with pytest.raises(ValueError):
        regions_from_text(text)


@pytest.mark.parametrize("text", ["", "7", "{}", "[7]", "[{}]", "[[]]", " []", "[ ]", "null"])
def test_what_is_no_list_of_regions_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        regions_from_text(text)
